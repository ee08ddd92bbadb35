"""Figures that take long are put together by what makes them: shown with next to nothing in their place."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import cast

import pytest

from benchmarks import promotion
from benchmarks.crossings import Crossing
from benchmarks.figures import Result, commands, costs, many, policies
from benchmarks.figures.make import FIGURES
from benchmarks.result import Result as Measured
from benchmarks.years import Year
from clm.core.domain import Series
from tests.support.candles import random_walk

#: Up to the moments that short figures are made at.
ROWS, BEGIN = 24 * 200, "2024-05-05"
SMALL = [name for name, figure in FIGURES.items() if figure.small is not None]
#: Half a minute and more of a processor each, even with next to nothing: by `make rehearse-figures` alone.
DEAR = {
    "growth-memory",
    "growth-time",
    "newest-candle",
    "series-cost",
    "series-growth",
    "serving-http",
    "training-peers",
}
dear = pytest.mark.skipif("CLM_TEST_LONG_FIGURES" not in os.environ, reason="`make rehearse-figures` runs it")
_LOOSE = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?|\b(?:two|three|weeks?)\b")


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candles")
    for seed, series in enumerate((Series("BTCUSDT", "1h"), Series("ETHUSDT", "1h"))):
        frame = random_walk(ROWS, seed=seed, start=BEGIN).reset_index()
        frame["open_time"] = frame["open_time"].dt.as_unit("ms").astype("int64")
        frame.to_parquet(folder / f"{series.symbol}-{series.interval}.parquet")
    return folder


def _cells(line: str) -> list[str]:
    return [_LOOSE.sub("#", cell.strip()) for cell in line.strip().strip("|").split("|")]


def _fits(now: str, name: str) -> None:
    """Columns and rows are such as are kept, and no row has a cell too many."""
    (head, _, *rows), (kept, _, *known) = now.splitlines(), Result.read(name).text.splitlines()
    assert set(_cells(head)) <= set(_cells(kept))
    assert rows
    assert {_cells(row)[0] for row in rows} <= {_cells(row)[0] for row in known}
    assert {len(_cells(row)) for row in rows} == {len(_cells(head))}, now


@pytest.mark.rehearse
@pytest.mark.parametrize("name", [pytest.param(n, marks=dear) if n in DEAR else n for n in SMALL])
def test_a_long_one_is_put_together_by_its_command(name: str, candles: Path) -> None:
    small = FIGURES[name].small
    assert small is not None
    _fits(small(candles), name)


class Few:
    """As `promotion.Bench`, of three paths and years each."""

    def crossings(self, *given: object, **more: object) -> list[Crossing]:
        return [Crossing(hour, 1.0, True) for hour in (5, 500, -1)]

    def years(self, *given: object) -> list[Year]:
        return [Year(better, 2, 0, 1, 0, 0.001, 0.002) for better in (0, 0, 1)]


@pytest.mark.parametrize("name", ["promotion", "promotion-summary"])
def test_error_rates_are_read_off_the_rows_of_the_benchmark(name: str) -> None:
    rows = policies.by_name(promotion.rows(cast("promotion.Bench", Few())))
    make = {"promotion": policies.promotion, "promotion-summary": policies.promotion_summary}[name]
    now, kept = make(rows), Result.read(name).text

    assert [_cells(line)[0] for line in now.splitlines()] == [_cells(line)[0] for line in kept.splitlines()]
    # Limits are the benchmark's, and need no run.
    if name == "promotion":
        limits = [line.rsplit("|", 2)[1] for line in kept.splitlines()]
        assert [line.rsplit("|", 2)[1] for line in now.splitlines()] == limits


def test_the_arithmetic_follows_from_its_constants() -> None:
    """The kept ones, as their table tells them."""
    of = costs.Costs({"regularised": 1.6, "accurate": 22.0}, 0.15, 0.1, (19, 1053), (0.69, 41.0), 0.086)
    assert costs.series_cost(of) == Result.read("series-cost").text
    assert costs.series_growth(of) == Result.read("series-growth").text


#: What the benchmarks print, where they only print.
FANOUT = """one after the other    183.9 s   8 series × 2 models, preset `accurate`
side by side            91.3 s   2 processes
speed-up                2.01     ≥ 1.85
champions             the same to the last bit
"""
FITS = """50 series × 2 models    669.0 s   in 2 processes
their fits            1236.0 s   of the processor, where they were done
all that is not them    8.3%     ≤ 10%
"""
DASHBOARDS = """none open     p50    4.0 ms  p99    9.5 ms  6,000 requests
20 open       p50    4.1 ms  p99   11.3 ms  6,000 requests
p99 ratio     1.20   ≤ 2
a page        0.31 s   ≤ 1.5, the slowest of 3
readable      0.98 s   ≤ 1.5, the slowest of 5 pages
busy at once  0.14 s   ≤ 0.5, the longest task of any of them
"""
FETCHED = """ours, validated and stored     1.29 s   100,000 candles, best of 3
python-binance                39.80 s    30.8 times ours, ≥ 30
ccxt                           6.90 s     5.4 times ours, ≥ 5
answers with 429                  0
"""
SUSTAINED = """ten symbols, two processes    121.0 s   2,980,000 candles a minute, 99.4% of 3,000,000, ≥ 90%
answers with 429                  0
"""
CYCLE = [
    Measured("cycle: warm, regularised", "its six fits", 1.54, 1.2, "by CPU time 1.280, 0.3 s besides"),
    Measured("  fits", "the whole cycle", 1.2, 1.54),
    Measured("  certificate, fingerprints, profile", "the whole cycle", 0.13, 1.54),
    Measured("  evidence", "the whole cycle", 0.06, 1.54),
    Measured("  truncation check", "the whole cycle", 0.04, 1.54),
    Measured("  registry", "the whole cycle", 0.02, 1.54),
    Measured("cycle: warm, accurate", "its six fits", 22.22, 22.0, "by CPU time 1.010, 0.2 s besides"),
    Measured("  fits", "the whole cycle", 22.0, 22.22),
]
FEATURES = [
    [
        Measured("features: a million minutes", "pandas rolling", 1.0, times),
        Measured("features: the same, whole catalogue", "copying the matrix", 1.0, 0.1,
                 "1,000,000 candles × 142 features; memory grows by 1.4 times the matrix"),
    ]
    for times in (3.9, 4.9)
]  # fmt: skip


def test_rows_of_what_only_prints_are_read_off_its_lines() -> None:
    rows = [
        many.fanned_out(FANOUT), many.beside_fits(FITS), many.accurate(CYCLE), many.default(CYCLE),
        many.dashboards(DASHBOARDS), many.million(FEATURES), many.fetched(FETCHED),
        many.sustained(SUSTAINED, 6000),
    ]  # fmt: skip
    kept = Result.read("many-series").text.splitlines()
    assert [row for row in commands.table("||", rows).splitlines()[2:] if row not in kept] == []
    with pytest.raises(ValueError, match="no line like"):
        many.fanned_out("Traceback")


@pytest.mark.rehearse
def test_every_decision_of_a_replay_is_decided_again(candles: Path) -> None:
    _, here, must, _ = many.daily(True, candles)
    (same, all_of_them) = commands.found(here, r"(\d+) of (\d+) decisions come out the same")
    assert same == all_of_them != "0"
    assert must == "1 ×; all"


@dear
@pytest.mark.rehearse
def test_the_lines_are_what_is_printed() -> None:
    fanned = many.fanned_out(commands.bench("fanout", "--series", "2", "--preset", "fast"))
    assert fanned[0] == "a run over 2 series × 2 models, preset `fast`"
    assert "the same to the last bit" in fanned[1]
    assert (
        "besides its fits"
        in many.beside_fits(commands.bench("fanout", "--fits", "--series", "2", "--preset", "fast"))[1]
    )
