"""What the store holds, as a picture: thinned, its gaps named, nothing fetched."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from clm.core.domain import Series
from clm.core.errors import BadInput
from clm.market.look import MOST_POINTS, picture
from clm.market.store import CandleStore, Span
from tests.support.candles import random_walk

BTC = Series("BTCUSDT", "1h")
HOUR = 3_600_000


def stored(folder: Path, candles: pd.DataFrame, *known: Span) -> CandleStore:
    store = CandleStore(folder)
    for low, high in known:
        opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
        store.write(BTC, candles[(opens >= low) & (opens < high)], (low, high))
    return store


def whole(candles: pd.DataFrame) -> Span:
    opens = pd.DatetimeIndex(candles.index).as_unit("ms").asi8
    return int(opens[0]), int(opens[-1]) + HOUR


def test_an_empty_store_shows_nothing(tmp_path: Path) -> None:
    shown = picture(CandleStore(tmp_path), BTC, 30)

    assert (shown.bars, shown.begins, shown.newest_close, shown.gaps) == ((), None, None, 0)


def test_few_candles_are_shown_as_they_are(tmp_path: Path) -> None:
    candles = random_walk(100)

    shown = picture(stored(tmp_path, candles, whole(candles)), BTC, 2)

    newest = candles.iloc[-1]
    assert (shown.candles, shown.candles_a_point, len(shown.bars), shown.gaps) == (48, 1, 48, 0)
    assert (shown.bars[-1].open, shown.bars[-1].close) == (newest["open"], newest["close"])
    assert shown.newest_close == candles.index[-1] + pd.Timedelta(hours=1)
    assert shown.begins == candles.index[0]


def test_many_candles_are_thinned_and_lose_no_extreme(tmp_path: Path) -> None:
    candles = random_walk(5000)

    shown = picture(stored(tmp_path, candles, whole(candles)), BTC, 365)

    assert len(shown.bars) <= MOST_POINTS < len(candles)
    assert sum(bar.candles for bar in shown.bars) == shown.candles == 5000
    assert max(bar.high for bar in shown.bars) == candles["high"].max()
    assert min(bar.low for bar in shown.bars) == candles["low"].min()
    assert sum(bar.volume for bar in shown.bars) == pytest.approx(candles["volume"].sum())
    assert shown.bars[0].open == candles["open"].iloc[0]


def test_a_gap_says_whether_the_exchange_has_none_or_nobody_asked(tmp_path: Path) -> None:
    candles = random_walk(100)
    low, high = whole(candles)
    there = candles.drop(candles.index[[10, 11]])

    shown = picture(stored(tmp_path, there, (low, low + 40 * HOUR), (low + 60 * HOUR, high)), BTC, 30)

    holes = [(hole.first, hole.candles, hole.fetched) for hole in shown.holes]
    assert holes == [(candles.index[10], 2, True), (candles.index[40], 20, False)]
    assert (shown.gaps, shown.missing) == (2, 22)


def test_a_gap_at_the_end_is_one_too(tmp_path: Path) -> None:
    candles = random_walk(50)

    shown = picture(stored(tmp_path, candles.iloc[:47], whole(candles)), BTC, 30)

    assert [(hole.first, hole.candles) for hole in shown.holes] == [(candles.index[47], 3)]
    assert shown.newest_close == candles.index[47]


def test_a_damaged_month_is_dropped_and_shown_as_never_asked_for(tmp_path: Path) -> None:
    candles = random_walk(1000)
    store = stored(tmp_path, candles, whole(candles))
    first = sorted((tmp_path / "BTCUSDT" / "1h").glob("*.parquet"))[0]
    first.write_bytes(b"damaged")

    shown = picture(store, BTC, 365)

    assert all(not hole.fetched for hole in shown.holes)
    assert 0 < shown.candles < 1000


@pytest.mark.parametrize("days", [0.001, 9000])
def test_no_candle_or_more_than_can_be_read_is_refused(tmp_path: Path, days: float) -> None:
    with pytest.raises(BadInput, match=r"days.*at most 8,333 days"):
        picture(CandleStore(tmp_path), BTC, days)
