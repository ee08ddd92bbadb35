"""A hole is believed while the exchange shows what lies on both sides of it, and is asked for again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.exchange.server import ExchangeServer
from clm.market.binance import BinanceDataClient
from clm.market.holes import Hole, from_json, to_json
from clm.market.stores import candle_store
from tests.support.exchange import QUICK, market_of, serving, walk_market
from tests.support.s3 import BUCKET, S3, s3_server

HOUR, DAY = 3600.0, 86_400.0
MARKET, CANDLES = walk_market(1200)
LOST = slice(900, 907)
WITHOUT = market_of(CANDLES.drop(CANDLES.index[LOST]))
BTC = Series("BTCUSDT", "1h")


@dataclass
class Desk:
    """A client whose machine's clock is in hand, on an exchange that has lost some candles."""

    server: ExchangeServer
    where: str
    now: float = 1e9

    def load(self) -> pd.DataFrame:
        """By a process that has just begun."""
        client = BinanceDataClient(
            base_url=self.server.url, data_dir=self.where, pace=QUICK, cache_ttl=1e9, wall=lambda: self.now
        )
        try:
            return client.load_recent_data(40)
        finally:
            client.close()

    def asked(self) -> int:
        return sum(seen.path.endswith("klines") for seen in self.server.requests)

    def asks(self) -> int:
        """Requests for candles that another look takes."""
        before = self.asked()
        self.load()
        return self.asked() - before


@pytest.fixture(scope="module")
def store_of_objects() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("objects", marks=pytest.mark.rehearse)])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "objects":
        request.getfixturevalue("store_of_objects")
    name = request.node.name.partition("[")[0]
    where = f"s3://{BUCKET}/{name}" if request.param == "objects" else str(tmp_path / "data")
    with serving(WITHOUT) as server:
        yield Desk(server, where)


def test_it_is_asked_for_again_after_an_hour_six_hours_a_day_and_daily_for_a_month(desk: Desk) -> None:
    desk.load()
    found, times = desk.now, [1, 6, *range(24, 30 * 24 + 1, 24)]
    asked = {}
    for hours in (at for time in [*times, 31 * 24, 99 * 24] for at in (time - 0.1, time)):
        desk.now = found + hours * HOUR
        asked[hours] = desk.asks()

    assert [hours for hours, asks in asked.items() if asks] == times
    assert max(asked.values()) == 1


def test_candles_that_were_filled_in_are_there_at_the_next_look_that_is_due(desk: Desk) -> None:
    holed = desk.load()
    desk.server.exchange.market = MARKET
    assert len(desk.load()) == len(holed)
    desk.now += HOUR

    healed = desk.load()

    assert len(healed) == len(holed) + 7
    pd.testing.assert_frame_equal(healed, CANDLES.loc[healed.index], check_freq=False, check_index_type=False)
    desk.now += 7 * DAY
    assert desk.asks() == 0


def test_what_is_filled_in_by_half_leaves_a_hole_as_old_as_the_whole_was(desk: Desk) -> None:
    desk.load()
    desk.server.exchange.market = market_of(CANDLES.drop(CANDLES.index[903:907]))
    desk.now += HOUR
    desk.load()

    desk.now += 1.5 * HOUR
    assert desk.asks() == 0
    desk.now += 4 * HOUR
    assert desk.asks() == 1


def test_an_answer_that_lacks_what_lies_beside_it_says_nothing(desk: Desk) -> None:
    desk.server.exchange.market = market_of(CANDLES.iloc[:900])
    first = desk.load()
    desk.server.exchange.market = WITHOUT
    holed = desk.load()
    assert len(holed) > len(first)
    desk.now += HOUR
    # As if the exchange had lost its archive from before the hole on.
    desk.server.exchange.market = market_of(CANDLES.iloc[950:])

    assert desk.asks() == 1
    assert desk.asks() == 1
    desk.server.exchange.market = MARKET
    assert len(desk.load()) == len(holed) + 7


def test_an_exchange_that_does_not_answer_takes_nothing_away(desk: Desk) -> None:
    holed = desk.load()
    desk.now += HOUR
    desk.server.set_faults("500@1-20")

    assert len(desk.load()) == len(holed)
    desk.server.set_faults("")
    assert desk.asks() == 1


def test_a_note_that_cannot_be_read_costs_a_question(tmp_path: Path) -> None:
    with serving(WITHOUT) as server:
        desk = Desk(server, str(tmp_path))
        desk.load()
        (note,) = tmp_path.rglob("holes.json")
        note.write_text("{")

        assert desk.asks() == 1
        assert desk.asks() == 0


def test_cleared_nothing_of_it_is_left(desk: Desk) -> None:
    desk.load()
    store = candle_store(desk.where)
    assert len(store.holes(BTC)) == 1

    store.clear(BTC)

    assert store.holes(BTC) == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(10, 99), st.floats(0, 1e10), st.floats(0, 1e10))))
def test_a_note_keeps_all_of_them(rows: list[tuple[int, int, float, float]]) -> None:
    holes = tuple(Hole(*row) for row in rows)

    assert from_json(to_json(holes)) == holes


def test_a_clock_that_was_set_back_makes_it_due() -> None:
    hole = Hole(0, 1, found_at=5 * DAY, asked_at=6 * DAY)

    assert hole.due(now=2 * DAY)
    assert not hole.due(now=6 * DAY + HOUR)
    assert not Hole(0, 1, 0.0, 30 * DAY).due(now=99 * DAY)
