"""Candles of one's own, as the service reads them: from a data frame or a list, without importing pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any, Protocol, runtime_checkable

FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base", "trades",
)  # fmt: skip


@runtime_checkable
class Frame(Protocol):
    """What is used of a pandas DataFrame."""

    @property
    def columns(self) -> Any: ...
    def reset_index(self) -> Any: ...
    def to_dict(self, orient: Any) -> Any: ...


Candles = Frame | Iterable[Mapping[str, Any]]


def records(candles: Candles) -> list[dict[str, Any]]:
    """JSON-ready candles, oldest first as they came.

    A frame has `open_time` as its index or as a column; further columns are left out. Raises ValueError where
    a field is missing or a value is one that JSON cannot carry.
    """
    rows: Iterable[Mapping[str, Any]]
    if isinstance(candles, Frame):
        frame = candles if "open_time" in candles.columns else candles.reset_index()
        rows = frame.to_dict("records")
    else:
        rows = candles
    return [_record(number, row) for number, row in enumerate(rows)]


def _record(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in FIELDS if name not in row]
    if missing:
        raise ValueError(f"candle {number} has no {', '.join(missing)}; a candle has {', '.join(FIELDS)}")
    return {name: _plain(number, name, row[name]) for name in FIELDS}


def _plain(number: int, name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"candle {number}: {name} is {value}")
    return value
