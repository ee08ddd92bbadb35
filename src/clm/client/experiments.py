"""A/B experiments over REST."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clm.client.link import Link
from clm.client.records import mapping, mappings

Json = dict[str, Any]


class Experiments:
    """`client.experiments`. Times are ISO 8601 in the answers; see docs/client.md."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def start(
        self,
        model_type: str,
        versions: tuple[str, str],
        *,
        days: float | None = None,
        end: datetime | None = None,
        start: datetime | None = None,
        split: float = 0.5,
        alpha: float = 0.05,
        symbol: str | None = None,
        interval: str | None = None,
    ) -> Json:
        """Set two versions, A and B, against each other; of `end` and `days` exactly one is given.

        start, end: aware. split: share of callers that get B; alpha: chance that equals are called unequal.
        Raises NotFound, Conflict (one is open), WrongInput, AccessRefused (role operate).
        """
        body = {
            "model_type": model_type, "versions": list(versions), "days": days, "split": split,
            "alpha": alpha, "start": None if start is None else start.isoformat(),
            "end": None if end is None else end.isoformat(), "symbol": symbol, "interval": interval,
        }  # fmt: skip
        return mapping(self._link.post("experiments", body=body))

    def recent(
        self,
        model: str | None = None,
        limit: int = 20,
        *,
        symbol: str | None = None,
        interval: str | None = None,
    ) -> list[Json]:
        """Experiments, newest first, of all series by default."""
        return mappings(
            self._link.get("experiments", model=model, limit=limit, symbol=symbol, interval=interval)
        )

    def get(self, experiment_id: str, *, recompute: bool = False) -> Json:
        """How one stands, or ended and why; recompute: computed again from the rows. Raises NotFound."""
        return mapping(self._link.get("experiments", experiment_id, recompute=recompute))

    def stop(self, experiment_id: str) -> Json:
        """End one by hand. Raises NotFound, Conflict (it has ended), AccessRefused (role operate)."""
        return mapping(self._link.post("experiments", experiment_id, "stop"))
