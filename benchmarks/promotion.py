"""Operating characteristics of the evidence policy beside the threshold rule, each with what must be reached.

    make bench-promotion            # the whole table, under ten minutes on two cores
    python -m benchmarks.promotion --scale 0.1   # a look at it

Seeds are fixed. Exit code 1 when a figure misses its limit by more than its Monte-Carlo error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.crossings import Crossing, pairs
from benchmarks.market_paths import Model, worse_by
from benchmarks.years import Year, simulate_year
from clm.core.evidence_policy import EvidencePolicy

_ALPHA, _ALPHA_ROLLBACK = 0.05, 0.10
EQUAL, _BETTER = Model.calibrated(0.005), Model.calibrated(0.008)
#: Paths simulated at once: what fits into memory.
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Row:
    """limit: what must be reached; at_least: whether more is better. error: one standard error of `ours`."""

    name: str
    ours: float
    naive: float | None
    limit: float | None
    at_least: bool = False
    unit: str = "%"
    error: float = 0.0

    @property
    def missed(self) -> bool:
        """Beyond the limit by more than two standard errors."""
        if self.limit is None:
            return False
        over = self.limit - self.ours if self.at_least else self.ours - self.limit
        return over > 2 * self.error

    def __str__(self) -> str:
        must = "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self._shown(self.limit)}"
        naive = "" if self.naive is None else self._shown(self.naive)
        verdict = "" if self.limit is None else "MISSED" if self.missed else "ok"
        return f"{self.name:<66} {self._shown(self.ours):>10} {naive:>10} {must:>12}  {verdict}"

    def _shown(self, value: float) -> str:
        if self.unit == "%":
            return f"{value:.1%}"
        return f"{value:,.0f} h" if self.unit == "h" else f"{value:.2f} pp"


class Bench:
    """Runs scenarios over processes; `scale` shrinks how many paths and years."""

    def __init__(self, pool: ProcessPoolExecutor, scale: float) -> None:
        self._pool, self._scale = pool, scale

    def crossings(
        self,
        seed: int,
        n: int,
        hours: int,
        champion: Model,
        challenger: Model,
        *,
        symbols: int = 1,
        alpha: float = _ALPHA,
        naive: bool = False,
    ) -> list[Crossing]:
        chunk = max(10, _CHUNK * 1000 // hours // symbols)
        todo = max(40, int(n * self._scale))
        jobs = [
            (
                seed * 1000 + k,
                min(chunk, todo - k * chunk),
                hours,
                champion,
                challenger,
                symbols,
                float(np.log(1 / alpha)),
                naive,
            )
            for k in range(-(-todo // chunk))
        ]
        return [crossing for part in self._pool.map(pairs, jobs) for crossing in part]

    def years(self, scenario: str, n: int, symbols: int, min_improvement: float = 0.0) -> list[Year]:
        todo = max(6, int(n * self._scale))
        run = partial(one_year, scenario, symbols, min_improvement)
        return list(self._pool.map(run, range(todo), chunksize=2))


def one_year(scenario: str, symbols: int, min_improvement: float, seed: int) -> Year:
    """One simulated year of a scenario with permanent name."""
    policy = EvidencePolicy(min_improvement=min_improvement)
    return simulate_year(seed, symbols, _SCENARIOS[scenario], policy)


_STEP_DAY = 90
_DRIFT_PER_30_DAYS = 0.001


def _null(day: int, hour: int) -> Model:
    return EQUAL


def _worse(delta: float, day: int, hour: int) -> Model:
    return _BETTER if day == 0 else worse_by(delta, _BETTER)


def _step_better(day: int, hour: int) -> Model:
    return worse_by(0.01, _BETTER) if day < _STEP_DAY else _BETTER


def _age_drift(day: int, hour: int) -> Model:
    """R² falls by 0.1 percentage points per 30 days of age."""
    age = max(0.0, (hour - 720) / 24 + 1 - day)
    return EQUAL.with_r2(EQUAL.r2 - _DRIFT_PER_30_DAYS * age / 30)


_SCENARIOS: dict[str, Callable[[int, int], Model]] = {
    "null": _null,
    "all 0.5 % worse": partial(_worse, 0.005),
    "all 2 % worse": partial(_worse, 0.02),
    "step-better": _step_better,
    "age-drift": _age_drift,
}


def rows(bench: Bench) -> Iterable[Row]:
    """Every row of the table, as it is computed."""
    yield from _decisions(bench)
    yield from _live(bench)
    yield from _guards(bench)
    yield from _years(bench)


#: Symbols pooled where nothing else is said.
_POOLED = 5


def _decisions(bench: Bench) -> Iterable[Row]:
    """One look at a holdout, or hourly looks for a year; one symbol, then several pooled."""
    for symbols in (1, _POOLED):
        for hours in (500, 1000, 2000):
            found = bench.crossings(hours, 2000, hours, EQUAL, EQUAL, symbols=symbols, naive=symbols == 1)
            yield _share(
                f"equal models: false promotion, one look at {hours:,} holdout h, {_symbols(symbols)}",
                [c.hour >= 0 and c.total > 0 for c in found],
                0.05,
                [c.naive for c in found] if symbols == 1 else None,
            )
        found = bench.crossings(1, 1000, 8760, EQUAL, EQUAL, symbols=symbols)
        yield _share(
            f"equal candidate peeked at hourly for a year: ever promoted, {_symbols(symbols)}",
            [c.hour >= 0 for c in found],
            0.05,
        )
        for delta, must in ((0.005, 0.20), (0.01, 0.70), (0.02, 0.93), (0.05, 0.98)):
            found = bench.crossings(
                int(delta * 1e4), 4000, 1000, worse_by(delta, _BETTER), _BETTER,
                symbols=symbols, naive=symbols == 1,
            )  # fmt: skip
            yield _share(
                f"power, 1,000 holdout h, δ = {delta:.1%}, {_symbols(symbols)}",
                [c.hour >= 0 and c.total > 0 for c in found],
                must,
                [c.naive for c in found] if symbols == 1 else None,
                True,
            )


def _live(bench: Bench) -> Iterable[Row]:
    one = bench.crossings(2, 2000, 2160, worse_by(0.01, _BETTER), _BETTER)
    yield _share("live only, 1 symbol, δ = 1 %: promoted within 30 d", _within(one, 720), 0.52, more=True)
    yield _share("live only, 1 symbol, δ = 1 %: promoted within 90 d", _within(one, 2160), 0.95, more=True)
    ten = {
        delta: bench.crossings(3, 600, 720, worse_by(delta, _BETTER), _BETTER, symbols=10)
        for delta in (0.005, 0.01)
    }
    yield _share(
        "live only, 10 symbols, δ = 0.5 %: promoted within 30 d", _within(ten[0.005], 720), 0.55, more=True
    )
    yield _share(
        "live only, 10 symbols, δ = 1 %: promoted within 30 d", _within(ten[0.01], 720), 0.98, more=True
    )
    yield Row("median hours to promotion, δ = 1 %, 1 symbol", _median(one), None, 700, unit="h")
    yield Row("median hours to promotion, δ = 1 %, 10 symbols", _median(ten[0.01]), None, 280, unit="h")


def _guards(bench: Bench) -> Iterable[Row]:
    for symbols, n, must in ((1, 2000, 0.62), (10, 600, 0.98)):
        found = bench.crossings(
            4, n, 720, worse_by(0.01, _BETTER), _BETTER, symbols=symbols, alpha=_ALPHA_ROLLBACK
        )
        yield _share(
            f"guard: a 1 % worse model rolled back within 30 d, {_symbols(symbols)}",
            _within(found, 720),
            must,
            more=True,
        )
        found = bench.crossings(5, n, 720, EQUAL, EQUAL, symbols=symbols, alpha=_ALPHA_ROLLBACK)
        yield _share(f"guard: an equal model rolled back, {_symbols(symbols)}", _within(found, 720), 0.10)


def _years(bench: Bench) -> Iterable[Row]:
    limits = {1: 0.45, 5: 0.15}
    for symbols in (1, _POOLED):
        seen = {
            "null": bench.years("null", 300 if symbols == 1 else 200, symbols),
            "all 0.5 % worse": bench.years("all 0.5 % worse", 120, symbols),
            "all 2 % worse": bench.years("all 2 % worse", 120, symbols),
            "step-better": bench.years("step-better", 60, symbols),
            "age-drift": bench.years("age-drift", 60, symbols),
        }
        suffix = f"365 daily candidates, {_symbols(symbols)}"
        yield _share(
            f"years with a false promotion, all equal, {suffix}",
            [y.better > 0 for y in seen["null"]],
            0.05,
            [y.naive > 0 for y in seen["null"]],
        )
        for name in ("all 0.5 % worse", "all 2 % worse"):
            yield _share(
                f"years with a harmful promotion, {name}, {_symbols(symbols)}",
                [y.harmful > 0 for y in seen[name]],
                0.05,
                [y.naive_harmful > 0 for y in seen[name]],
            )
        worst: list[tuple[float, float, float]] = []
        for name in ("null", "all 2 % worse", "step-better", "age-drift"):
            lost, naive = (
                [getattr(y, kind) for y in seen[name]] for kind in ("shortfall", "naive_shortfall")
            )
            worst.append((100 * float(np.mean(lost)), 100 * float(np.mean(naive)), 100 * _error(lost)))
            yield Row(
                f"  shortfall of mean R², {name}, {_symbols(symbols)}",
                worst[-1][0],
                worst[-1][1],
                None,
                unit="pp",
            )
        ours, _, error = max(worst)
        yield Row(
            f"worst-case shortfall of mean R², whole policy, {_symbols(symbols)}",
            ours,
            max(w[1] for w in worst),
            limits[symbols],
            unit="pp",
            error=error,
        )
        refreshed = [y.refresh for y in seen["null"]]
        print(f"  (refreshes a year, all equal, {_symbols(symbols)}: {np.mean(refreshed):.1f})", flush=True)
        filtered = bench.years("step-better", 40, symbols, 0.02)
        yield Row(
            f"  shortfall, step-better, with the 2 % point filter, {_symbols(symbols)}",
            100 * float(np.mean([y.shortfall for y in filtered])),
            None,
            None,
            unit="pp",
        )


def _share(
    name: str, hits: Sequence[bool], limit: float, naive: Sequence[bool] | None = None, more: bool = False
) -> Row:
    share = float(np.mean(hits))
    error = float(np.sqrt(max(limit * (1 - limit), 1e-9) / len(hits)))
    return Row(name, share, float(np.mean(naive)) if naive is not None else None, limit, more, error=error)


def _within(found: Sequence[Crossing], hours: int) -> list[bool]:
    return [0 <= c.hour <= hours for c in found]


def _median(found: Sequence[Crossing]) -> float:
    return float(np.median([c.hour if c.hour >= 0 else np.inf for c in found]))


def _error(values: Sequence[float]) -> float:
    return float(np.std(values) / np.sqrt(len(values)))


def _symbols(n: int) -> str:
    return "1 symbol" if n == 1 else f"{n} symbols"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the paths and years; default: 1")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    began, missed = time.monotonic(), []
    print(f"{'':<66} {'evidence':>10} {'threshold':>10} {'must be':>12}")
    with ProcessPoolExecutor(given.processes) as pool:
        for row in rows(Bench(pool, given.scale)):
            print(row, flush=True)
            missed += [row.name] if row.missed else []
    print(
        f"{time.monotonic() - began:.0f} s; {'missed: ' + '; '.join(missed) if missed else 'nothing missed'}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
