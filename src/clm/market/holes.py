"""Candles that the exchange did not have: when it is asked for them again, for it may fill them in later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clm.logs import logger

log = logger(__name__)
_HOUR = 3600.0
_DAY = 24 * _HOUR
#: After so long since a hole was found; after the last of them it is believed for good.
_AGAIN = (_HOUR, 6 * _HOUR, *(day * _DAY for day in range(1, 31)))
#: A stamp so far in the future is from before the machine's clock was set back.
_LEAP = 60.0


@dataclass(frozen=True, slots=True)
class Hole:
    """Times from `low` to before `high`, milliseconds. found_at, asked_at: seconds of the machine's clock.

    It is asked for with the candles on both sides of it: only an answer that holds these says that there is
    nothing in between.
    """

    low: int
    high: int
    found_at: float
    asked_at: float

    def due(self, now: float) -> bool:
        """Whether it is time to ask again."""
        if self.asked_at > now + _LEAP:
            return True
        coming = next((after for after in _AGAIN if after > self.asked_at - self.found_at), None)
        return coming is not None and now >= self.found_at + coming

    def holds(self, low: int, high: int) -> bool:
        """Whether a span lies in it."""
        return self.low <= low and high <= self.high


def to_json(holes: Iterable[Hole]) -> list[list[float]]:
    """Plain data that `from_json` turns into equal holes."""
    return [[hole.low, hole.high, hole.found_at, hole.asked_at] for hole in holes]


def from_json(data: Any) -> tuple[Hole, ...]:
    """The inverse of `to_json`. What cannot be read counts as never asked for."""
    try:
        return tuple(
            Hole(int(low), int(high), float(found), float(asked)) for low, high, found, asked in data
        )
    except (TypeError, ValueError) as exc:
        log.warning("holes_unreadable", error=str(exc), action="asking for them again")
        return ()


def read_holes(raw: bytes | None) -> tuple[Hole, ...]:
    """From a note of its own."""
    if raw is None:
        return ()
    try:
        said = json.loads(raw)
    except ValueError:
        said = None
    return from_json(said.get("holes") if isinstance(said, Mapping) else None)
