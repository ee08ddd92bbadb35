"""The feature engineer: cuts candles at gaps, fills one matrix, knows its own warm-up."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Self

import numpy as np
import pandas as pd

from clm.core.ambit import counter
from clm.core.domain import TARGET, FeatureRow, feature_of, is_past, longest_past, past_name
from clm.core.errors import BadInput, InsufficientData, InvalidCandles, InvalidSetting
from clm.core.jumps import MAX_JUMP, jumps
from clm.core.newest import row_of_batch
from clm.features.bars import Bars, check
from clm.features.catalogue import ADVANCED, BASIC, FORMER, KNOWN
from clm.features.newest import Window, newest_row

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]
#: Rows computed at a time: so few that a block's arrays stay in the processor's caches, and what is taken
#: besides the matrix does not grow with the history.
_BLOCK = 15_000
#: From so many further blocks on they are shared out among so many threads.
_MANY, _THREADS = 2, 4
#: A block's candles begin at a multiple of this place in their run: TA-Lib adds a window up in an order that
#: repeats every so many candles (the former CCI, of 20 and of 72), and no value depends on its block.
_ALIGNED = 360


class QuantumFeatureEngineer:
    """Features of the catalogue, float32, and the target.

    use_advanced: the whole catalogue (100+), else the basic 25 or so; former features of either it knows,
    and computes for whoever names them (see `FormerEngineer`). horizon: candles the target is ahead.
    past: feature → candles of it that some model looks back on; what it was k candles ago becomes the column
    `feature@k`, for k from 1 to one less than that. max_jump: see `clm.core.jumps`; candles on either side
    of a jump are no more each other's history than those on either side of a gap.
    """

    def __init__(
        self,
        use_advanced: bool = True,
        *,
        horizon: int = 1,
        past: Mapping[str, int] | None = None,
        max_jump: float = MAX_JUMP,
    ) -> None:
        if not max_jump > 1:
            raise InvalidSetting("max_jump", max_jump, "a number above 1")
        if horizon < 1:
            raise InvalidSetting("horizon", horizon, "a whole number of candles, at least 1")
        self.catalogue = ADVANCED if use_advanced else BASIC
        self._former = tuple(feature for feature in FORMER if use_advanced or feature.basic)
        self.horizon, self.max_jump = horizon, max_jump
        #: (column, candles ago), in the order of the columns.
        self._past: tuple[tuple[int, int], ...] = ()
        self.look_back_on(past or {})

    def look_back_on(self, past: Mapping[str, int]) -> None:
        """Compute what is past too, see above. Raises BadInput for a feature that is not computed."""
        lacking = set(past) - {feature.name for feature in self.catalogue}
        if lacking:
            raise BadInput("past", min(lacking), "features that are computed")
        self._past = tuple(
            (column, lag)
            for column, feature in enumerate(self.catalogue)
            for lag in range(1, past.get(feature.name, 1))
        )

    @classmethod
    def of(cls, names: Sequence[str], horizon: int = 1) -> Self:
        """One that computes exactly these features, in this order. Raises BadInput for unknown ones."""
        known = {feature.name: feature for feature in KNOWN}
        past = longest_past(names)
        present = [name for name in names if not is_past(name)]
        unknown = [name for name in present if name not in known]
        if unknown or not present:
            said = f"features that this CLM does not compute: {', '.join(unknown[:5]) or 'none is named'}"
            raise BadInput("features", unknown, "names of the catalogue", message=said)
        made = cls(horizon=horizon)
        made.catalogue = tuple(known[name] for name in present)
        made.look_back_on(past)
        return made

    @property
    def warmup(self) -> int:
        """Candles before the first row: the longest look-back of the catalogue, and of what is past."""
        present = max(feature.lookback for feature in self.catalogue)
        return max(present, *(self.catalogue[c].lookback + lag for c, lag in self._past), 0)

    def get_feature_names(self) -> list[str]:
        names = [feature.name for feature in self.catalogue]
        return names + [past_name(names[column], lag) for column, lag in self._past]

    @property
    def former(self) -> Collection[str]:
        """See `FormerEngineer`."""
        here, warmup = {feature.name for feature in self.catalogue}, self.warmup
        return [f.name for f in self._former if f.name not in here and f.lookback <= warmup]

    def of_former(self, names: Sequence[str]) -> Self:
        """See `FormerEngineer`."""
        made = self.of(names, self.horizon)
        made.max_jump = self.max_jump
        return made

    def why_not(self, names: Collection[str]) -> str | None:
        """See `CatalogueEngineer`."""
        known = {feature.name for feature in KNOWN}
        here = {feature.name for feature in (*self.catalogue, *self._former)}
        wanted = {feature_of(name) for name in names}
        if not wanted <= known:
            return None
        if wanted <= here:
            return "none of its model types looks back on them"
        if self.catalogue == BASIC:
            return "CLM_FEATURES=basic"
        return f"it was told to compute {len(here)} others"

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        """Rows with full history, of shape (rows, features + 1); see `FeatureEngineer.transform`."""
        check(df)
        opens = pd.DatetimeIndex(df.index).as_unit("ns").asi8
        starts = np.union1d(_segment_starts(opens), np.flatnonzero(jumps(df, self.max_jump)))
        ends, warmup = np.append(starts[1:], len(df)), self.warmup
        long = [(s, e) for s, e in zip(starts, ends, strict=True) if e - s > warmup]
        if not long:
            raise InsufficientData(
                f"no run of candles without a gap is longer than {warmup} candles, the warm-up; "
                f"given: {len(df)} candles with {len(starts) - 1} gaps or jumps of the price"
            )
        rows = sum(e - s - warmup for s, e in long)
        names = self.get_feature_names()
        matrix = np.empty((rows, len(names)), dtype=np.float32, order="F")
        target = np.full(rows, np.nan)
        kept = np.empty(rows, dtype=np.int64)
        at = 0
        for start, end in long:
            run, size = Bars.of(df.iloc[start:end]), end - start - warmup
            self._fill_in_blocks(matrix[at : at + size], run, warmup)
            known = size - self.horizon
            if known > 0:
                level = run.log_close[warmup:]
                target[at : at + known] = level[self.horizon :] - level[: -self.horizon]
            kept[at : at + size] = np.arange(start + warmup, end)
            at += size
        frame = pd.DataFrame(matrix, index=df.index[kept], columns=names, copy=False)
        frame.index.name = "open_time"
        frame[TARGET] = target
        frame.columns = _columns((*names, TARGET))
        return frame

    def _fill_in_blocks(self, rows: Matrix, run: Bars, first: int) -> None:
        """As `_fill`, block by block; of a long history several at once, for NumPy lets threads go on."""

        def fill(low: int) -> None:
            self._fill(rows[low : low + _BLOCK], run, low + first)

        count = counter(len(rows), "candles") or (lambda done: None)
        # What is the whole run's is computed with the first, for all.
        fill(0)
        later = range(_BLOCK, len(rows), _BLOCK)
        if len(later) < _MANY:
            for low in later:
                count(low)
                fill(low)
            return
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
            for low, _ in zip(later, threads.map(fill, later), strict=True):
                count(low + _BLOCK)

    def _fill(self, rows: Matrix, run: Bars, first: int) -> None:
        """Features of the candles of a run from place `first` on, as many as there are rows."""
        begin, end = (first - self.warmup) // _ALIGNED * _ALIGNED, first + len(rows)
        bars = run.part(begin, end)
        lags: dict[int, list[tuple[int, int]]] = {}
        for place, (column, lag) in enumerate(self._past, len(self.catalogue)):
            lags.setdefault(column, []).append((place, lag))
        for column, feature in enumerate(self.catalogue):
            values = feature.function(bars)
            for place, lag in [(column, 0), *lags.get(column, [])]:
                rows[:, place] = values[first - begin - lag : end - begin - lag]

    def newest(self, df: pd.DataFrame) -> FeatureRow:
        """The last row of `transform` within 1e-6, from the last `warmup` + 1 candles alone, and quickly.

        What models look back on has no quick way. Raises InvalidCandles, InsufficientData.
        """
        if self._past:
            return row_of_batch(self, df)
        return newest_row(self.catalogue, Window.of(df, self.warmup + 1, self.max_jump))


@lru_cache(maxsize=16)
def _columns(names: tuple[str, ...]) -> pd.Index:
    """One object for all frames of these columns: kept rows of many series do not carry their names each."""
    index = pd.Index(names)
    # What pandas would look up with is made here, before threads share it.
    index.get_loc(names[0])
    return index


def _segment_starts(
    opens: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each run without a gap begins. The step is the smallest distance between two candles."""
    steps = np.diff(opens)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmin(steps > 0)) + 1
        raise InvalidCandles(f"candles are not in strictly increasing order at row {row}")
    gaps = np.flatnonzero(steps != steps.min()) + 1 if len(steps) else np.empty(0, dtype=np.int64)
    return np.concatenate(([0], gaps)).astype(np.int64)
