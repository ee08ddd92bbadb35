"""The watchlist over REST."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clm.client.link import Link
from clm.client.records import mapping, mappings

Json = dict[str, Any]


class Watchlist:
    """`client.series`: the series the service keeps models for."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self, *, every: bool = False) -> list[Json]:
        """What is watched, the first being the default; every: also what has been taken off."""
        return mappings(self._link.get("series", all=every))

    def add(
        self,
        symbol: str,
        interval: str | None = None,
        *,
        models: Iterable[str] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Json:
        """Watch a series from now on, or otherwise than before; `note` says what stands against training it.

        models: None for the configured ones. overrides: settings of its own, such as `{"holdout_days": 60}`.
        Raises WrongInput (also for a symbol that is not traded), AccessRefused (role operate).
        """
        body = {
            "symbol": symbol, "interval": interval, "models": None if models is None else list(models),
            "overrides": dict(overrides or {}),
        }  # fmt: skip
        return mapping(self._link.post("series", body=body))

    def remove(self, symbol: str, interval: str | None = None) -> Json:
        """Watch a series no more; what is stored stays. Raises WrongInput, Conflict (it is the last)."""
        query = {"symbol": symbol, "interval": interval}
        return mapping(self._link.ask("DELETE", "api/clm/series", query=query))
