"""The candle store: nothing lost, nothing half written, nothing asked for twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.domain import Series
from clm.core.errors import StorageFailed
from clm.market.store import CandleStore, Coverage
from tests.support.candles import random_walk
from tests.support.waiting import LIMIT

HOURLY = Series("BTCUSDT", "1h")
HOUR = 3_600_000
CANDLES = random_walk(3000)
T0 = int(CANDLES.index[0].timestamp() * 1000)
ALL = (T0, T0 + 3000 * HOUR)


def _span(low: int, high: int) -> tuple[int, int]:
    return T0 + low * HOUR, T0 + high * HOUR


def _assert_same(found: pd.DataFrame | None, expected: pd.DataFrame) -> None:
    assert found is not None
    pd.testing.assert_frame_equal(found, expected, check_index_type=False, check_freq=False)
    assert found.index.equals(expected.index)


def test_what_was_written_is_read_back_over_months_and_parts(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    store.write(HOURLY, CANDLES, ALL)

    _assert_same(store.read(HOURLY, ALL), CANDLES)
    _assert_same(store.read(HOURLY, _span(700, 760)), CANDLES.iloc[700:760])
    _assert_same(store.read(HOURLY, _span(-50, 3)), CANDLES.iloc[:3])
    assert sorted(p.name for p in (tmp_path / "BTCUSDT" / "1h").glob("*.parquet")) == [
        f"2024-0{month}.parquet" for month in range(1, 6)
    ]


def test_newer_values_win_and_others_stay(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    store.write(HOURLY, CANDLES.iloc[:100], _span(0, 100))
    revised = CANDLES.iloc[98:102].assign(close=1.5)

    store.write(HOURLY, revised, _span(98, 102))

    _assert_same(store.read(HOURLY, _span(0, 102)), pd.concat([CANDLES.iloc[:98], revised]))


def test_series_do_not_mix(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    store.write(HOURLY, CANDLES.iloc[:10], _span(0, 10))

    found = store.read(Series("ETHUSDT", "1h"), ALL)

    assert found is not None
    assert found.empty
    store.clear(HOURLY)
    assert store.coverage(HOURLY) == Coverage()
    store.clear(HOURLY)


SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=8
)


@given(SPANS, st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda p: (p[0], p[0] + p[1])))
def test_coverage_knows_exactly_what_was_asked_for(
    asked: list[tuple[int, int]], wanted: tuple[int, int]
) -> None:
    coverage = Coverage()
    for span in asked:
        coverage = Coverage(coverage.adding(span))
    known = {t for low, high in asked for t in range(low, high)}

    missing = {t for low, high in coverage.missing(wanted) for t in range(low, high)}
    kept = {t for low, high in coverage.without(wanted) for t in range(low, high)}

    assert missing == set(range(*wanted)) - known
    assert kept == known - set(range(*wanted))
    assert all(high < low for (_, high), (low, _) in zip(coverage.spans, coverage.spans[1:], strict=False))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2900), st.integers(1, 900)), min_size=1, max_size=5))
def test_any_order_of_overlapping_writes_gives_the_union(writes: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = CandleStore(Path(folder))
        for low, length in writes:
            store.write(HOURLY, CANDLES.iloc[low : low + length], _span(low, low + length))
        rows = sorted({i for low, length in writes for i in range(low, min(low + length, 3000))})

        _assert_same(store.read(HOURLY, ALL), CANDLES.iloc[rows])


@pytest.mark.parametrize("damage", [b"", b"not parquet at all", None])
def test_a_damaged_month_is_dropped_and_asked_for_again(tmp_path: Path, damage: bytes | None) -> None:
    store = CandleStore(tmp_path)
    store.write(HOURLY, CANDLES, ALL)
    february = tmp_path / "BTCUSDT" / "1h" / "2024-02.parquet"
    february.write_bytes(february.read_bytes()[:500] if damage is None else damage)

    assert store.read(HOURLY, ALL) is None

    assert not february.exists()
    assert store.coverage(HOURLY).missing(ALL) == [_span(31 * 24, 60 * 24)]
    store.write(HOURLY, CANDLES.iloc[31 * 24 : 60 * 24], _span(31 * 24, 60 * 24))
    _assert_same(store.read(HOURLY, ALL), CANDLES)


@pytest.mark.parametrize("text", ["", "{", '{"spans": 3}', '{"spans": [[1]], "tail_read_at": 0}'])
def test_a_damaged_note_means_that_nothing_is_known(tmp_path: Path, text: str) -> None:
    store = CandleStore(tmp_path)
    store.write(HOURLY, CANDLES, ALL)
    (tmp_path / "BTCUSDT" / "1h" / "coverage.json").write_text(text)

    assert store.coverage(HOURLY).missing(ALL) == [ALL]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(StorageFailed, match="BTCUSDT 1h"):
        CandleStore(tmp_path / "file").write(HOURLY, CANDLES, ALL)


_WRITE_FOR_EVER = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from clm.core.domain import Series
from clm.market.store import CandleStore
from tests.support.candles import random_walk
store, candles = CandleStore(Path(sys.argv[1])), random_walk(3000)
t0, hour, n = int(candles.index[0].timestamp() * 1000), 3_600_000, int(sys.argv[3])
print("going", flush=True)
for low in [*range(0, 3000, n)] * int(sys.argv[4]):
    part = candles.iloc[low : low + n]
    store.write(Series("BTCUSDT", "1h"), part, (t0 + low * hour, t0 + (low + len(part)) * hour))
"""


def _writer(folder: Path, rows: int, rounds: int) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOR_EVER, str(folder), str(Path(__file__).parents[1]), str(rows),
         str(rounds)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"going\n"
    return child


def test_a_writer_killed_at_any_moment_leaves_a_readable_store_that_knows_what_it_lacks(
    tmp_path: Path,
) -> None:
    dice = random.Random(0)
    store = CandleStore(tmp_path)
    for _ in range(4):
        child = _writer(tmp_path, rows=50, rounds=100)
        time.sleep(dice.uniform(0.02, 0.3))
        child.send_signal(signal.SIGKILL)
        child.communicate()

        found = store.read(HOURLY, ALL)
        assert found is not None
        known = [i for i in range(3000) if not store.coverage(HOURLY).missing(_span(i, i + 1))]
        assert found.index.isin(CANDLES.index).all()
        assert CANDLES.index[known].isin(found.index).all()
        _assert_same(found, CANDLES.loc[found.index])


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    children = [_writer(tmp_path, rows, 1) for rows in (70, 110)]
    for child in children:
        child.communicate(timeout=LIMIT)

    assert [child.returncode for child in children] == [0, 0]
    _assert_same(CandleStore(tmp_path).read(HOURLY, ALL), CANDLES)
    assert CandleStore(tmp_path).coverage(HOURLY).missing(ALL) == []
    leftovers = [name for name in os.listdir(tmp_path / "BTCUSDT" / "1h") if name.startswith(".2024")]
    assert leftovers == []
