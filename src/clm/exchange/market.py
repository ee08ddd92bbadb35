"""What the exchange trades: stored candles per symbol, served as Binance serves klines.

Nothing of a candle that has not opened is ever served; the one that is open comes as far as it has been
traded (see `partial`). Closed candles are final.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, INTERVALS, FloatArray, Series
from clm.core.errors import BadInput
from clm.exchange.partial import partial_candle

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]

Row = list[int | str]
_SUMMED = ("volume", "quote_volume", "taker_buy_base", "trades")
STEP_MS: Mapping[str, int] = {name: int(step.total_seconds() * 1000) for name, step in INTERVALS.items()}


@dataclass(frozen=True)
class Tape:
    """Candles of one symbol at one step, ascending; columns: arrays by name.

    Int64 milliseconds: opens, the stamps; starts, when trading began in each; ends, from when it is final.
    """

    step: int
    opens: IntArray
    starts: IntArray
    ends: IntArray
    columns: Mapping[str, FloatArray]

    @classmethod
    def of(cls, candles: pd.DataFrame, step: int) -> Tape:
        """A tape of a candle frame. A candle that an outage cut short ends where the next one opens."""
        opens: IntArray = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
        ends = opens + step
        ends[:-1] = np.minimum(ends[:-1], opens[1:])
        columns = {c: candles[c].to_numpy(dtype=np.float64) for c in CANDLE_COLUMNS}
        return cls(step, opens, opens, ends, columns)

    def grouped(self, step: int) -> Tape:
        """The same candles at a multiple of the step."""
        bucket = self.opens // step * step
        first = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
        last = np.append(first[1:], len(bucket)) - 1
        columns = {name: np.add.reduceat(self.columns[name], first) for name in _SUMMED}
        columns |= {
            "open": self.columns["open"][first],
            "close": self.columns["close"][last],
            "high": np.maximum.reduceat(self.columns["high"], first),
            "low": np.minimum.reduceat(self.columns["low"], first),
        }
        # Its first hours may be missing, and a candle off the grid may end after its group does.
        ends = np.maximum(bucket[first] + step, self.ends[last])
        return Tape(step, bucket[first], self.opens[first], ends, columns)

    def candle(self, i: int) -> dict[str, float]:
        return {name: float(values[i]) for name, values in self.columns.items()}

    @cached_property
    def places(self) -> tuple[int, int]:
        """Decimal places of the prices and of the volume, 0 to 8 each."""
        prices = max(_places(self.columns[name]) for name in ("open", "high", "low", "close"))
        return prices, _places(self.columns["volume"])


@dataclass(frozen=True)
class Market:
    """Tapes by symbol and interval; further intervals are grouped from the smallest that divides them."""

    tapes: Mapping[str, Mapping[str, Tape]]
    seed: int = 0
    _grouped: dict[tuple[str, str], Tape] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.tapes:
            raise BadInput("market", "no symbol", "at least one symbol with candles")

    def symbols(self) -> tuple[str, ...]:
        return tuple(self.tapes)

    def has_interval(self, symbol: str, interval: str) -> bool:
        """Whether candles of this length can be made from what is stored."""
        return interval in INTERVALS and self._base(symbol, interval) is not None

    def rows(
        self, symbol: str, interval: str, start: int | None, end: int | None, limit: int, now: int
    ) -> list[Row]:
        """Klines as Binance answers them at `now`; start, end: inclusive on open times; milliseconds.

        With a start the first `limit` rows from it, without one the last `limit` up to the end.
        """
        tape, step = self._tape(symbol, interval), STEP_MS[interval]
        high = int(np.searchsorted(tape.starts, now, side="right"))
        if end is not None:
            high = min(high, int(np.searchsorted(tape.opens, end, side="right")))
        low = 0 if start is None else int(np.searchsorted(tape.opens, start, side="left"))
        low, high = (low, min(high, low + limit)) if start is not None else (max(0, high - limit), high)
        rows = []
        for i in range(low, high):
            opened = int(tape.opens[i])
            open_now = now < tape.ends[i]
            candle = self._partial(symbol, interval, opened, now) if open_now else tape.candle(i)
            rows.append(_row(opened, min(step, int(tape.ends[i]) - opened), candle))
        return rows

    def _base(self, symbol: str, interval: str) -> str | None:
        """The stored interval to make `interval` from: itself, else the largest divisor."""
        stored = self.tapes[symbol]
        if interval in stored:
            return interval
        fits = [name for name in stored if STEP_MS[interval] % STEP_MS[name] == 0]
        return max(fits, key=lambda name: STEP_MS[name], default=None)

    def _tape(self, symbol: str, interval: str) -> Tape:
        base = self._base(symbol, interval)
        if base is None:
            raise BadInput("interval", interval, ", ".join(self.tapes[symbol]))
        if base == interval:
            return self.tapes[symbol][interval]
        if (symbol, interval) not in self._grouped:
            self._grouped[symbol, interval] = self.tapes[symbol][base].grouped(STEP_MS[interval])
        return self._grouped[symbol, interval]

    def _partial(self, symbol: str, interval: str, opened: int, now: int) -> dict[str, float]:
        """The candle that opened at `opened`, as far as it has come."""
        base = self.tapes[symbol][self._base(symbol, interval) or interval]
        last = max(opened, min(now, opened + STEP_MS[interval] - 1))
        low = int(np.searchsorted(base.opens, opened, side="left"))
        high = int(np.searchsorted(base.opens, last, side="right"))
        parts = []
        for i in range(low, high):
            at, ends = int(base.opens[i]), int(base.ends[i])
            whole = base.candle(i)
            if now < ends:
                elapsed = (now - at) / (ends - at)
                whole = partial_candle(whole, elapsed, self._path_seed(symbol, at), *base.places)
            parts.append(whole)
        merged = {name: sum(part[name] for part in parts) for name in _SUMMED}
        merged |= {
            "open": parts[0]["open"],
            "close": parts[-1]["close"],
            "high": max(part["high"] for part in parts),
            "low": min(part["low"] for part in parts),
        }
        return merged

    def _path_seed(self, symbol: str, opened: int) -> list[int]:
        return [self.seed, opened // 1000, *symbol.encode()]


def _places(values: FloatArray) -> int:
    """The fewest decimal places, at most eight, that write every value."""
    for places in range(8):
        if np.allclose(values, np.round(values, places), rtol=1e-13, atol=1e-11):
            return places
    return 8


def merge(tapes: Iterable[tuple[Series, pd.DataFrame]], seed: int = 0) -> Market:
    """A market of candle frames; frames of one series are joined, the later wins."""
    frames: dict[Series, list[pd.DataFrame]] = {}
    for series, frame in tapes:
        frames.setdefault(series, []).append(frame)
    stored: dict[str, dict[str, Tape]] = {}
    for series, parts in frames.items():
        joined = pd.concat(parts) if len(parts) > 1 else parts[0]
        joined = joined[~joined.index.duplicated(keep="last")].sort_index()
        stored.setdefault(series.symbol, {})[series.interval] = Tape.of(joined, STEP_MS[series.interval])
    return Market(stored, seed)


def _row(opened: int, step: int, candle: Mapping[str, float]) -> Row:
    """Binance's twelve fields: decimals as strings, times and counts as integers."""
    volume, quote, taker = candle["volume"], candle["quote_volume"], candle["taker_buy_base"]
    taker_quote = taker * quote / volume if volume > 0 else 0.0
    return [
        opened,
        *(_decimal(candle[name]) for name in ("open", "high", "low", "close")),
        _decimal(volume),
        opened + step - 1,
        _decimal(quote),
        int(candle["trades"]),
        _decimal(taker),
        _decimal(taker_quote),
        "0",
    ]


def _decimal(value: float) -> str:
    return f"{value:.8f}"
