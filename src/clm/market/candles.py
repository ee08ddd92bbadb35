"""What makes a candle frame one; what breaks it is named row by row, nothing is ever invented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clm.core.domain import CANDLE_COLUMNS, Series
from clm.core.errors import InvalidCandles
from clm.core.jumps import MAX_JUMP, jumps

_PRICES = ("open", "high", "low", "close")
_AMOUNTS = ("volume", "quote_volume", "taker_buy_base", "trades")
_SHOWN = 5
#: Nanoseconds since 1970 end in 2262: stamps outside of this are no times a candle can have.
_LATEST_SECONDS = 2**63 // 10**9
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Gap:
    """Candles that do not exist: the first missing one and how many."""

    first: pd.Timestamp
    count: int

    def __str__(self) -> str:
        return f"{self.first:%Y-%m-%d %H:%M} UTC: {self.count} missing"


@dataclass(frozen=True, slots=True)
class CandleReport:
    """What is worth knowing about sound candles. dropped: rows a repair left out, one line each.

    jumps: where the price goes on in other units, see `clm.core.jumps`.
    """

    rows: int
    gaps: tuple[Gap, ...] = ()
    without_trades: int = 0
    dropped: tuple[str, ...] = ()
    jumps: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Candles that fall into gaps."""
        return sum(gap.count for gap in self.gaps)


def empty_candles() -> pd.DataFrame:
    """A candle frame without a row."""
    index = pd.DatetimeIndex([], dtype="datetime64[ms, UTC]", name="open_time")
    frame = pd.DataFrame({name: np.empty(0) for name in CANDLE_COLUMNS}, index=index)
    return frame.assign(trades=frame["trades"].astype("int64"))


def validate(frame: pd.DataFrame, series: Series, max_jump: float = MAX_JUMP) -> CandleReport:
    """Raises InvalidCandles naming every row that breaks a rule; answers gaps, jumps and idle candles."""
    offenders = _offenders(frame, series)
    if offenders:
        rows = tuple(offenders.values())
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        raise InvalidCandles(
            f"{series}: {len(rows)} of {len(frame)} candles break the rules: "
            f"{'; '.join(rows[:_SHOWN])}{more}",
            rows,
        )
    return _report(frame, series, (), max_jump)


def repair(frame: pd.DataFrame, series: Series) -> tuple[pd.DataFrame, CandleReport]:
    """The candles that keep the rules, in order, and a report naming each one left out.

    Raises InvalidCandles for what cannot be mended row by row (columns missing, no UTC index).
    """
    offenders = _offenders(frame, series, ordered=False)
    keep = np.ones(len(frame), dtype=bool)
    keep[list(offenders)] = False
    kept = frame.loc[keep].sort_index()
    return kept, _report(kept, series, tuple(offenders[row] for row in sorted(offenders)), MAX_JUMP)


def find_gaps(times: pd.DatetimeIndex, series: Series) -> tuple[Gap, ...]:
    """Where candles are missing between the first and the last."""
    opens = times.as_unit("ms").asi8
    step = int(series.step.total_seconds() * 1000)
    holes = np.flatnonzero(np.diff(opens) > step)
    return tuple(
        Gap(times[i] + series.step, int((opens[i + 1] - opens[i]) // step) - 1) for i in holes.tolist()
    )


def _report(frame: pd.DataFrame, series: Series, dropped: tuple[str, ...], max_jump: float) -> CandleReport:
    idle, times = int((frame["trades"] == 0).sum()), pd.DatetimeIndex(frame.index)
    closes, opens = (frame[name].to_numpy(dtype=np.float64) for name in ("close", "open"))
    found = tuple(
        f"{times[at]:%Y-%m-%d %H:%M} UTC: from {closes[at - 1]:g} to {opens[at]:g}"
        for at in np.flatnonzero(jumps(frame, max_jump)).tolist()
    )
    return CandleReport(len(frame), find_gaps(times, series), idle, dropped, found)


def _offenders(frame: pd.DataFrame, series: Series, *, ordered: bool = True) -> dict[int, str]:
    """Row number → its stamp and what is wrong with it; a row is named once, by the first rule it breaks.

    ordered: also refuse rows that are out of order.
    """
    times = _check_layout(frame)
    opens, ticks = times.asi8, _PER_SECOND[times.unit]
    step = int(series.step.total_seconds()) * ticks
    prices = {name: frame[name].to_numpy(dtype=np.float64) for name in _PRICES}
    amounts = {name: frame[name].to_numpy(dtype=np.float64) for name in _AMOUNTS}
    values = np.stack([*prices.values(), *amounts.values()])
    upper, lower = (np.maximum(prices["open"], prices["close"]), np.minimum(prices["open"], prices["close"]))
    out_of_order = np.concatenate(([False], np.diff(opens) < 0)) if ordered else np.zeros(len(opens), bool)
    with np.errstate(over="ignore"):
        most_bought = amounts["volume"] * (1 + 1e-9)
    rules = (
        ((opens < 0) | (opens >= _LATEST_SECONDS * ticks), "stamped before 1970 or after 2261"),
        (opens % step != 0, f"stamped off the {series.interval} grid"),
        (np.asarray(times.duplicated(keep="first")), "stamped like an earlier candle"),
        (out_of_order, "out of order"),
        (~np.isfinite(values).all(axis=0), "a value is missing or not finite"),
        ((np.stack(list(prices.values())) <= 0).any(axis=0), "a price is not positive"),
        ((np.stack(list(amounts.values())) < 0).any(axis=0), "an amount is negative"),
        (prices["high"] < upper, "high is below open or close"),
        (prices["low"] > lower, "low is above open or close"),
        (amounts["taker_buy_base"] > most_bought, "takers bought more than was traded"),
    )
    found: dict[int, str] = {}
    for broken, what in rules:
        for row in np.flatnonzero(broken).tolist():
            found.setdefault(row, f"{times[row].isoformat().replace('+00:00', 'Z')}: {what}")
    return found


def _check_layout(frame: pd.DataFrame) -> pd.DatetimeIndex:
    missing = [name for name in CANDLE_COLUMNS if name not in frame.columns]
    if missing:
        raise InvalidCandles(f"candles lack the columns {', '.join(missing)}")
    for name in CANDLE_COLUMNS:
        wanted = "int64" if name == "trades" else "float64"
        if list(frame.columns).count(name) != 1 or str(frame[name].dtype) != wanted:
            raise InvalidCandles(f"candles must have one column {name}, of {wanted}")
    times = frame.index
    if not isinstance(times, pd.DatetimeIndex) or str(times.tz) != "UTC":
        raise InvalidCandles("candles must be indexed by their open time (DatetimeIndex in UTC)")
    return times
