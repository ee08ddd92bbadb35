"""What a candle store does, wherever it keeps the candles: a folder of this machine, or an object store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from clm.core.domain import Series
from clm.core.places import place
from clm.market.holes import Hole
from clm.market.segments import SegmentStore
from clm.market.store import CandleStore, Coverage, Span


class Candles(Protocol):
    """Candles of many series. All methods raise StorageFailed; `str` of it says where it is."""

    def coverage(self, series: Series) -> Coverage:
        """Which times are known. What is known and not there does not exist."""

    def read(self, series: Series, span: Span) -> pd.DataFrame | None:
        """Candles with open times in the span, ascending.

        None where something that was known is no longer there: ask `coverage` what to fetch again.
        """

    def write(
        self, series: Series, candles: pd.DataFrame, known: Span, tail_read_at: float | None = None
    ) -> None:
        """Merges candles, newer values win, and notes that the times in `known` were asked for.

        All candles are in `known`. tail_read_at: machine seconds, where they are the newest there are.
        """

    def holes(self, series: Series) -> tuple[Hole, ...]:
        """Those that were asked for, as they were noted last."""

    def note_holes(self, series: Series, holes: Sequence[Hole]) -> None:
        """All there are, in place of those noted before. Of two who note at once the later stands."""

    def clear(self, series: Series) -> None:
        """Forgets everything about a series."""


def candle_store(where: Path | str) -> Candles:
    """In a folder, or at a URL. Raises InvalidSetting."""
    where = place("data_dir", where)
    return CandleStore(where) if isinstance(where, Path) else SegmentStore(where)
