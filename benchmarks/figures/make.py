"""How each figure is made. What a page shows of an output is its lines without times and run ids."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, costs, growth, many, policies
from benchmarks.figures.commands import clm, points, replayed, table
from benchmarks.result import Result

_ELLIPSIS = "…"


def _lines(output: str, *wanted: str) -> list[str]:
    """Those that match, in order; a mark for what is left out between two."""
    found: list[str] = []
    for line in output.splitlines():
        if any(re.search(pattern, line) for pattern in wanted):
            found.append(line.rstrip())
        elif line.strip() and found and found[-1] != _ELLIPSIS:
            found.append(_ELLIPSIS)
    while found and found[-1] == _ELLIPSIS:
        found.pop()
    return found


def demo() -> str:
    """The demo's verdicts, from its third step on."""
    with tempfile.TemporaryDirectory() as folder:
        output = clm(Path(folder), "demo", "--yes")
    after = output[output.index("[3/7]") :]
    shown = _lines(
        after, r"^\[[346]/7\]", r"^(CONTINUE|PROMOTE) ", r"^clm promote", r"^live shadow until .*4,\d+",
        r"^ *series +model", r"^ ─{100}", r" (candidate|champion) +\d+ ", r"decisions recompute",
    )  # fmt: skip
    return "\n".join(
        ["$ make demo     # sets up .venv, then seven steps: a minute or two", _ELLIPSIS, *shown]
    )


def real_candles() -> str:
    """Three symbols, a year of hours, both models, defaults."""
    with replayed(datetime(2024, 12, 31, tzinfo=UTC)) as url, tempfile.TemporaryDirectory() as folder:
        output = clm(
            Path(folder), "retrain", CLM_BINANCE_URL=url, CLM_SYMBOLS="BTCUSDT,ETHUSDT,SOLUSDT"
        )  # fmt: skip
    table = _lines(output, r"^On candles", r"^ *series +model", r"^ ─{20}", r" candidate ")
    first = next(line for line in output.splitlines() if line.startswith("PROMOTE"))
    return "\n".join([
        "$ clm exchange --replay candles/ --start-time 2024-12-31 --speed 0 &",
        "$ CLM_BINANCE_URL=http://127.0.0.1:8765 CLM_SYMBOLS=BTCUSDT,ETHUSDT,SOLUSDT clm retrain",
        *table, "", first, _ELLIPSIS,
    ])  # fmt: skip


def real_elsewhere() -> str:
    """The same with a shorter look-back, and on shorter candles."""
    rows: list[tuple[str, ...]] = []
    every = (
        (datetime(2024, 12, 31, tzinfo=UTC), "1h", 90), (datetime(2024, 12, 31, tzinfo=UTC), "1h", 30),
        (datetime(2024, 6, 25, tzinfo=UTC), "5m", 355),
    )  # fmt: skip
    for moment, interval, days in every:
        with replayed(moment) as url, tempfile.TemporaryDirectory() as folder:
            output = clm(
                Path(folder), "retrain", CLM_BINANCE_URL=url, CLM_INTERVAL=interval,
                CLM_TRAINING_LOOKBACK_DAYS=str(days),
            )  # fmt: skip
        for line in output.splitlines():
            if " candidate " in line:
                cells = re.split(r" {2,}", line.strip())
                _, model, _, candles, _, direction, r2 = cells[:7]
                where = f"{interval} at {moment:%Y-%m-%d}"
                rows.append((where, f"{days} days", model, candles, r2, direction))
    return table("| BTCUSDT | look-back | model | candles | R² | direction |", rows)


def search() -> str:
    """Twenty proposals for Bitcoin's hours, at two moments."""
    rows: list[tuple[str, ...]] = []
    for moment, model in (
        (datetime(2024, 12, 31, tzinfo=UTC), "xgboost"), (datetime(2024, 12, 31, tzinfo=UTC), "lightgbm"),
        (datetime(2023, 12, 31, tzinfo=UTC), "lightgbm"),
    ):  # fmt: skip
        with replayed(moment) as url, tempfile.TemporaryDirectory() as folder:
            told = clm(
                Path(folder), "search", "--models", model, "--trials", "20", "--minutes", "30", "--dry-run",
                "--json", CLM_BINANCE_URL=url,
            )  # fmt: skip
        rows.append(_search_row(moment, model, told))
    return table(
        "| the exchange's clock at | model | present recipe | best of 20 | lead | needed | proposed |", rows
    )


def _search_row(moment: datetime, model: str, told: str) -> tuple[str, ...]:
    (found,) = json.loads(told)["searches"]
    verdict, whole = found["verdict"], [one for one in found["tried"] if one["outcome"] == "searched"]
    best = max((one["score"] for one in whole[1:]), default=None)
    lead, needed = "–", "–"
    if verdict["gain"] is not None:
        lead = points(verdict["gain"])
    if verdict["gain"] is not None and verdict["gain"] > 0:
        error = verdict["standard_error"]
        lead += f" ({100 * error:.3f}), {verdict['gain'] / error:.1f} errors"
        needed = f"{verdict['needed']:.1f}"
    return (
        f"{moment:%Y-%m-%d}", model, f"{points(whole[0]['score'])} %",
        "–" if best is None else f"{points(best)} %", lead, needed,
        "nothing" if verdict["proposed"] is None else "the best",
    )  # fmt: skip


def _operated(folder: Path) -> None:
    """A registry that somebody has used for a while, as the rehearsals of the documentation have it."""
    from tests.support.exchange import serving, simulated

    with serving(simulated()) as exchange:
        few = '{"xgboost": {"num_trees": 5}, "lightgbm": {"num_trees": 5}}'
        clm(
            folder, "retrain", CLM_BINANCE_URL=exchange.url, CLM_TRAINING_LOOKBACK_DAYS="90",
            CLM_TRAINING_PARAMS=few,
        )  # fmt: skip


def _table(output: str, folder: Path, shown: Sequence[str]) -> str:
    """A table of rows and checksums: three of its rows, without the checksums, and its last line."""
    lines = output.replace(str(folder), "/var/backups/clm").splitlines()
    kept: list[str] = []
    for line in lines:
        if re.match(r"^ +clm_", line) and not any(name in line for name in shown):
            if kept[-1].strip() != _ELLIPSIS:
                kept.append(f"  {_ELLIPSIS}")
            continue
        kept.append(re.sub(r"\b[0-9a-f]{16}$", _ELLIPSIS, line.rstrip()))
    return "\n".join(kept).strip("\n")


def backup() -> str:
    """A backup of a small registry."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _operated(place)
        output = clm(place, "backup", str(place / "2026-11-25"))
    told = _table(output, place, ("clm_decisions", "clm_forecasts", "clm_model_versions"))
    told = re.sub(r"as of .* UTC", "as of 2026-11-25 02:23:27 UTC", told)
    return f"$ clm backup /var/backups/clm/2026-11-25\n{told}"


def bench() -> str:
    """`make bench`, its ratios, rounded as far as they repeat."""
    from benchmarks import cycle, features, fetch

    return bench_table([*cycle.run(), *fetch.run(), *features.run()])


def bench_table(results: Sequence[Result]) -> str:
    """Three of them."""
    cycle = costs.by_start(results, "cycle: warm, regularised")
    fetch = costs.by_start(results, "fetch: a year of hours, nothing new")
    features = costs.by_start(results, "features: six years of hours")
    return table("| what | against | ratio |", [
        ("a warm cycle, both models, default recipe, canary included", "the bare library fits it contains",
         f"{cycle.ratio:.2f}"),
        ("a second fetch of a year of hours", "the first", f"{fetch.ratio:.1g}"),
        ("the features", "the same in pandas rolling windows", f"{features.ratio:.1g}"),
    ])  # fmt: skip


#: So that every step of a long figure is gone within a minute: few trees, and weeks instead of years.
_FEW = {
    "CLM_TRAINING_PARAMS": '{"lightgbm": {"num_trees": 5}, "xgboost": {"num_trees": 5}}',
    "CLM_FEATURES": "basic", "CLM_TRAINING_LOOKBACK_DAYS": "60", "CLM_HOLDOUT_DAYS": "14",
}  # fmt: skip
_PEERS, _GROWTH, _REPLAY = "make bench-training-peers", "make bench-growth", "clm replay --candles candles/"
_WEEKS = {"start": "2024-11-01", "end": "2024-11-18"}


def _small(make: Callable[..., str], **more: Any) -> Callable[[Path], str]:
    """A figure of few trees over the candles in a folder."""
    return lambda candles: make(candles, **more, **_FEW)


_TWO = ("BTCUSDT", "ETHUSDT")
#: Name → how it is made, and how it is made small; without the latter what makes it takes a minute or two.
FIGURES: dict[str, Figure] = {
    "demo": Figure("make demo", 1.0, demo),
    "real-candles": Figure("clm retrain, against clm exchange --replay candles/", 0.4, real_candles),
    "real-elsewhere": Figure("clm retrain, against clm exchange --replay candles/", 0.6, real_elsewhere),
    "backup": Figure("clm backup", 0.2, backup),
    "search": Figure("clm search --trials 20 --dry-run, against clm exchange --replay candles/", 3, search),
    "bench": Figure("make bench", 3, bench),
    "promotion-summary": Figure("make bench-promotion", 13, policies.promotion_summary),
    "promotion": Figure("make bench-promotion", 13, policies.promotion),
    "promotion-real": Figure(
        f"{_REPLAY} --step-days 7, for each policy", 90, policies.promotion_real,
        _small(policies.promotion_real, symbols=("BTCUSDT",), **_WEEKS),
    ),
    "neural": Figure(
        f"{_REPLAY} --models nhits,patchtst", 240, policies.neural,
        _small(policies.neural, models=("xgboost", "lightgbm"), **_WEEKS),
    ),
    "pooled": Figure(
        f"{_REPLAY} with CLM_POOLED_MODELS", 60, policies.pooled,
        _small(policies.pooled, symbols=_TWO, **_WEEKS),
    ),
    "explain-memory": Figure(
        "clm explain --against, on weekly refits of real candles", 20, policies.explain_memory,
        _small(policies.explain_memory, symbols=("BTCUSDT",), weeks=(1, 2),
               moments=(datetime(2024, 11, 18, tzinfo=UTC),)),
    ),
    "many-series": Figure("the command in each row", 120, many.many_series),
    "serving": Figure("python -m benchmarks newest", 2, costs.newest_forecast),
    "serving-http": Figure(
        "make bench-peers", 10, costs.over_http, lambda candles: costs.over_http(small=True)
    ),
    "training-peers": Figure(
        _PEERS, 20, costs.training, lambda candles: costs.training(costs.beside_peers(1, ()))
    ),
    "newest-candle": Figure(
        _PEERS, 20, costs.newest_candle, lambda candles: costs.newest_candle(costs.beside_peers(1, ()))
    ),
    "growth-time": Figure(_GROWTH, 30, growth.times, lambda candles: growth.times(growth.measured((1, 2)))),
    "growth-memory": Figure(
        _GROWTH, 30, growth.memory, lambda candles: growth.memory(growth.measured((1, 2)))
    ),
    "series-cost": Figure(
        _GROWTH, 30, costs.series_cost, lambda candles: costs.series_cost(costs.costs(small=True))
    ),
    "series-growth": Figure(
        _GROWTH, 30, costs.series_growth, lambda candles: costs.series_growth(costs.costs(small=True))
    ),
}  # fmt: skip
