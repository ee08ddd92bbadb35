"""Candles in an object store: nobody holds a lock, and all the same nothing known is ever missing."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.core.errors import StorageFailed
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
from clm.market.segments import SegmentStore
from clm.market.store import Coverage
from tests.support.candles import random_walk
from tests.support.exchange import serving, simulated
from tests.support.s3 import BUCKET, S3, s3_server
from tests.support.waiting import LIMIT

HOURLY = Series("BTCUSDT", "1h")
HOUR = 3_600_000
CANDLES = random_walk(3000)
T0 = int(CANDLES.index[0].timestamp() * 1000)
ALL = (T0, T0 + 3000 * HOUR)
_ANEW = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def url(server: S3, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name.partition('[')[0]}"


def _span(low: int, high: int) -> tuple[int, int]:
    return T0 + low * HOUR, T0 + high * HOUR


def _assert_same(found: pd.DataFrame | None, expected: pd.DataFrame) -> None:
    assert found is not None
    pd.testing.assert_frame_equal(found, expected, check_index_type=False, check_freq=False)
    assert found.index.equals(expected.index)


def _put(store: SegmentStore, low: int, high: int) -> None:
    store.write(HOURLY, CANDLES.iloc[low:high], _span(low, high))


@pytest.mark.rehearse
def test_a_candle_store_on_s3_reads_back_what_was_written_over_months_and_parts(url: str) -> None:
    store = SegmentStore(url)
    store.write(HOURLY, CANDLES, ALL, 1234.5)

    _assert_same(store.read(HOURLY, ALL), CANDLES)
    _assert_same(store.read(HOURLY, _span(700, 760)), CANDLES.iloc[700:760])
    _assert_same(store.read(HOURLY, _span(-50, 3)), CANDLES.iloc[:3])
    assert SegmentStore(url).coverage(HOURLY) == Coverage((ALL,), 1234.5)


def test_newer_values_win_whatever_joins_what(url: str) -> None:
    store = SegmentStore(url)
    _put(store, 0, 100)
    revised = CANDLES.iloc[98:102].assign(close=1.5)

    store.write(HOURLY, revised, _span(98, 102))
    _put(store, 102, 150)

    expected = pd.concat([CANDLES.iloc[:98], revised, CANDLES.iloc[102:150]])
    _assert_same(SegmentStore(url).read(HOURLY, _span(0, 150)), expected)


def test_months_without_candles_are_known_too_and_cost_one_object(url: str, server: S3) -> None:
    store = SegmentStore(url)
    store.write(HOURLY, CANDLES.iloc[:1], _span(-30_000, 1))

    assert store.coverage(HOURLY).missing(_span(-30_000, 1)) == []
    assert len(server.names(url.removeprefix(f"s3://{BUCKET}/"))) == 2


def test_series_do_not_mix_and_are_cleared_one_by_one(url: str) -> None:
    store, other = SegmentStore(url), Series("BTCUSDT", "1m")
    _put(store, 0, 10)
    store.write(other, CANDLES.iloc[:1], _span(0, 1))

    store.clear(HOURLY)

    assert store.coverage(HOURLY) == Coverage()
    assert store.coverage(other).spans == (_span(0, 1),)


def test_a_candle_a_minute_neither_rewrites_the_month_nor_leaves_an_object_each(url: str, server: S3) -> None:
    store = SegmentStore(url)
    _put(store, 0, 500)
    for at in range(500, 600):
        store.write(HOURLY, CANDLES.iloc[at - 3 : at + 1], _span(at - 3, at + 1), float(at))

    assert len(server.names(url.removeprefix(f"s3://{BUCKET}/"))) <= 4
    assert store.coverage(HOURLY) == Coverage((_span(0, 600),), 599.0)
    _assert_same(store.read(HOURLY, ALL), CANDLES.iloc[:600])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2900), st.integers(1, 900)), min_size=1, max_size=5))
def test_any_order_of_overlapping_writes_gives_the_union(writes: list[tuple[int, int]]) -> None:
    store = SegmentStore(f"memory://union/{next(_ANEW)}")
    for low, length in writes:
        _put(store, low, low + length)
    rows = sorted({i for low, length in writes for i in range(low, min(low + length, 3000))})

    _assert_same(store.read(HOURLY, ALL), CANDLES.iloc[rows])
    assert all(not store.coverage(HOURLY).missing(_span(low, low + length)) for low, length in writes)


@pytest.mark.parametrize("damage", [b"", b"not parquet at all", None])
def test_a_damaged_object_is_dropped_and_its_times_are_asked_for_again(
    url: str, server: S3, damage: bytes | None
) -> None:
    store = SegmentStore(url)
    store.clear(HOURLY)
    store.write(HOURLY, CANDLES, ALL)
    (february,) = server.names(f"{url.removeprefix(f's3://{BUCKET}/')}/BTCUSDT/1h/2024-02/")
    whole = server.client().get_object(Bucket=BUCKET, Key=february)["Body"].read()
    server.client().put_object(Bucket=BUCKET, Key=february, Body=whole[:500] if damage is None else damage)

    assert store.read(HOURLY, ALL) is None

    assert february not in server.names()
    assert store.coverage(HOURLY).missing(ALL) == [_span(31 * 24, 60 * 24)]
    _put(store, 31 * 24, 60 * 24)
    _assert_same(store.read(HOURLY, ALL), CANDLES)


def test_what_somebody_cleared_is_not_read_as_candles_that_do_not_exist(url: str) -> None:
    store = SegmentStore(url)
    _put(store, 0, 100)
    SegmentStore(url).clear(HOURLY)

    assert store.read(HOURLY, _span(0, 100)) is None
    assert store.coverage(HOURLY) == Coverage()


_WRITE = """
import sys; sys.path.insert(0, sys.argv[2])
from clm.core.domain import Series
from clm.market.segments import SegmentStore
from tests.support.candles import random_walk
store, candles, series = SegmentStore(sys.argv[1]), random_walk(3000), Series("BTCUSDT", "1h")
t0, hour, n = int(candles.index[0].timestamp() * 1000), 3_600_000, int(sys.argv[3])
store.coverage(series)
print("going", flush=True)
for low in [*range(0, 3000, n)] * int(sys.argv[4]):
    part = candles.iloc[low : low + n]
    span = (t0 + low * hour, t0 + (low + len(part)) * hour)
    store.write(series, part, span)
    found = store.read(series, span)
    assert found is not None and len(found) == len(part), (low, found)
"""


def _writer(url: str, rows: int, rounds: int) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITE, url, root, str(rows), str(rounds)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    return child


def _going(*children: subprocess.Popen[bytes]) -> None:
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"


@pytest.mark.rehearse
def test_a_candle_store_on_s3_keeps_what_two_writers_wrote(url: str) -> None:
    """After each of its writes each finds every candle of it, whatever the other joins and deletes."""
    children = [_writer(url, rows, 1) for rows in (70, 110)]
    _going(*children)
    for child in children:
        child.communicate(timeout=LIMIT)

    assert [child.returncode for child in children] == [0, 0]
    _assert_same(SegmentStore(url).read(HOURLY, ALL), CANDLES)
    assert SegmentStore(url).coverage(HOURLY).missing(ALL) == []


@pytest.mark.rehearse
def test_a_writer_killed_at_any_moment_leaves_no_half_object_and_no_lie_about_what_is_known(url: str) -> None:
    dice, store = random.Random(0), SegmentStore(url)
    for _ in range(3):
        child = _writer(url, 50, 100)
        _going(child)
        time.sleep(dice.uniform(0.02, 0.5))
        child.send_signal(signal.SIGKILL)
        child.communicate()

        found = store.read(HOURLY, ALL)
        assert found is not None
        coverage = store.coverage(HOURLY)
        known = [i for i in range(3000) if not coverage.missing(_span(i, i + 1))]
        _assert_same(found, CANDLES.iloc[known])


def test_a_client_fetches_through_s3_once_and_reads_the_same_candles_as_without_it(url: str) -> None:
    with serving(simulated()) as exchange:
        plain = BinanceDataClient(base_url=exchange.url, cache_enabled=False, pace=Pace.interactive())
        first = BinanceDataClient(base_url=exchange.url, data_dir=url, pace=Pace.interactive())
        expected, fetched = plain.load_recent_data(60), first.load_recent_data(60)
        again = BinanceDataClient(base_url=exchange.url, data_dir=url, pace=Pace.interactive())
        read = again.load_recent_data(60)
        for client in (plain, first, again):
            client.close()

    _assert_same(fetched, expected)
    _assert_same(read, expected)


class TestAStoreThatFails:
    def test_is_named_with_the_cause_where_its_bucket_is_missing(self, server: S3) -> None:
        store = SegmentStore("s3://no-such-bucket/data")

        with pytest.raises(StorageFailed, match=r"s3://no-such-bucket/data.*bucket does not exist"):
            store.coverage(HOURLY)
        with pytest.raises(StorageFailed, match="bucket does not exist"):
            _put(store, 0, 10)

    def test_is_named_with_the_cause_where_access_is_denied(self, server: S3) -> None:
        import httpx

        store = SegmentStore(f"s3://{BUCKET}/denied")
        _put(store, 0, 10)
        # From now on the server knows its users, and nobody is one of them.
        httpx.post(f"{server.url}/moto-api/reset-auth", content=b"0", timeout=LIMIT)
        try:
            with pytest.raises(StorageFailed, match=rf"s3://{BUCKET}/denied.*Access Key Id"):
                store.read(HOURLY, _span(0, 10))
        finally:
            httpx.post(f"{server.url}/moto-api/reset-auth", content=b"inf", timeout=LIMIT)

    @pytest.mark.rehearse
    def test_fails_in_seconds_where_nobody_listens_and_goes_on_once_it_is_back(self, server: S3) -> None:
        store = SegmentStore(f"s3://{BUCKET}/down")
        _put(store, 0, 10)
        server.stop()
        began = time.monotonic()
        with pytest.raises(StorageFailed, match=rf"s3://{BUCKET}/down"):
            _put(store, 10, 20)
        # The library by itself would try again for minutes.
        assert time.monotonic() - began < 120

        server.start()
        server.make_bucket()
        _put(store, 10, 20)
        assert store.read(HOURLY, _span(10, 20)) is not None
