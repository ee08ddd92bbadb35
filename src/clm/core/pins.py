"""Candles pinned by short fingerprints: enough to say which of them are no longer what they were.

One fingerprint a day, and one for each time of day over all days: where a single candle was revised, the day
and the time that differ name it. A year of hours takes 3 kB, where the candles themselves take 500.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS

#: Hex digits of one fingerprint: 32 bits. That something changed is told by the whole frame's SHA-256.
_DIGITS = 8
_DAY_MS = 86_400_000
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pins:
    """first_day: of the candles, UTC. days: fingerprints from it on, one after the other, `_DIGITS` each.

    slots: the same by time of day, from midnight on, one a candle. candles: how many there are.
    """

    first_day: date
    days: str
    slots: str
    candles: int

    @classmethod
    def of(cls, candles: pd.DataFrame, step: timedelta) -> Pins:
        """Of a candle frame with at least one row."""
        opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
        rows = np.empty((len(candles), 1 + len(CANDLE_COLUMNS)), dtype="<i8")
        rows[:, 0] = opens
        rows[:, 1:] = np.ascontiguousarray(candles[list(CANDLE_COLUMNS)].to_numpy(dtype="<f8")).view("<i8")
        first = int(opens[0]) // _DAY_MS
        day = opens // _DAY_MS - first
        slot = opens % _DAY_MS // int(step.total_seconds() * 1000)
        order = np.argsort(slot, kind="stable")
        return cls(
            date(1970, 1, 1) + timedelta(days=first),
            _digests(rows, day, int(day[-1]) + 1),
            _digests(rows[order], slot[order], max(1, _DAY_MS // int(step.total_seconds() * 1000))),
            len(candles),
        )

    def unlike(self, now: Pins, step: timedelta) -> str | None:
        """Which candles are others now, in words; None where all are what they were."""
        ahead = (now.first_day - self.first_day).days
        old, new = _split(self.days), _split(now.days)
        new = [""] * ahead + new if ahead >= 0 else new[-ahead:]
        days = [
            self.first_day + timedelta(days=k)
            for k in range(max(len(old), len(new)))
            if old[k : k + 1] != new[k : k + 1]
        ]
        slots = [
            k * step
            for k, (a, b) in enumerate(zip(_split(self.slots), _split(now.slots), strict=True))
            if a != b
        ]
        count = f"; there were {self.candles:,}, there are {now.candles:,}"
        counted = "" if self.candles == now.candles else count
        if not days:
            return None
        moments = [datetime(d.year, d.month, d.day, tzinfo=UTC) + slot for d in days for slot in slots]
        if min(len(days), len(slots)) != 1:
            return f"candles of {len(days)} days differ: {_listed(days)}{counted}"
        named = [f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
        differ = "differs" if len(named) == 1 else "differ"
        return f"{len(named)} of {self.candles:,} candles {differ}: {_listed(named)} UTC{counted}"

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into equal pins."""
        return {
            "first_day": self.first_day.isoformat(), "days": self.days, "slots": self.slots,
            "candles": self.candles,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pins:
        """The inverse of `to_json`."""
        return cls(date.fromisoformat(data["first_day"]), data["days"], data["slots"], int(data["candles"]))


def short_digest(raw: bytes | memoryview) -> str:
    """A fingerprint of `_DIGITS` hex digits."""
    return hashlib.blake2b(raw, digest_size=_DIGITS // 2).hexdigest()


def _digests(
    rows: np.ndarray[Any, np.dtype[np.int64]], groups: np.ndarray[Any, np.dtype[np.int64]], count: int
) -> str:
    """One fingerprint a group; rows come group by group."""
    edges = np.searchsorted(groups, np.arange(count + 1))
    return "".join(short_digest(rows[a:b].tobytes()) for a, b in pairwise(edges))


def _split(digests: str) -> list[str]:
    return [digests[k : k + _DIGITS] for k in range(0, len(digests), _DIGITS)]


def _listed(what: Sequence[object]) -> str:
    more = f" and {len(what) - _SHOWN} more" if len(what) > _SHOWN else ""
    return ", ".join(map(str, what[:_SHOWN])) + more
