"""Figures of what is promoted and what it is worth: simulated years, and replays of real candles.

Each takes what makes it small, so that a test can go the whole way within a minute.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from math import exp
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import promotion as bench
from benchmarks.figures import commands
from benchmarks.figures.commands import points, table

_PROCESSES = 2
#: E that one recipe needs; of several that compete each needs so many times as much.
_NEEDED = 20
Rows = Mapping[str, bench.Row]
Symbols = Sequence[str]


def by_name(rows: Iterable[bench.Row]) -> Rows:
    return {row.name: row for row in rows}


@cache
def simulated(scale: float = 1.0) -> Rows:
    """`make bench-promotion`; once for the figures that are made of it."""
    with ProcessPoolExecutor(_PROCESSES) as pool:
        return by_name(bench.rows(bench.Bench(pool, scale)))


def promotion(rows: Rows | None = None) -> str:
    """Error rates and power beside the limits."""
    of = _Cells(rows or simulated())
    looks = [f"equal models: false promotion, one look at {h} holdout h" for h in ("500", "1,000", "2,000")]
    power = [f"power, 1,000 holdout h, δ = {share}" for share in ("0.5%", "1.0%", "2.0%", "5.0%")]
    peeked = "equal candidate peeked at hourly for a year: ever promoted"
    live = "live only, {}, δ = {} %: promoted within {} d"
    hours, guard = "median hours to promotion, δ = 1 %", "guard: {}, {}"
    year, harm = (
        "years with a false promotion, all equal, 365 daily candidates",
        "years with a harmful promotion",
    )
    lost, worse, equal = (
        "worst-case shortfall of mean R², whole policy",
        "a 1 % worse model rolled back within 30 d",
        "an equal model rolled back",
    )
    one, five, ten = "1 symbol", "5 symbols", "10 symbols"
    return table("| | evidence | threshold | must be |", [
        of.row("equal models: false promotion, one look at 500 / 1,000 / 2,000 holdout h",
               [f"{name}, {one}" for name in looks]),
        of.row("… five symbols pooled", [f"{name}, {five}" for name in looks]),
        of.row("an equal candidate peeked at hourly for a year, ever promoted, 1 / 5 symbols",
               [f"{peeked}, {one}", f"{peeked}, {five}"]),
        of.row("power, 1,000 holdout h, better by 0.5 / 1 / 2 / 5 %", [f"{name}, {one}" for name in power]),
        of.row("… five symbols pooled", [f"{name}, {five}" for name in power]),
        of.row("live only, 1 symbol, 1 % better: within 30 / 90 days",
               [live.format(one, "1", days) for days in (30, 90)]),
        of.row("live only, 10 symbols, 0.5 / 1 % better: within 30 days",
               [live.format(ten, share, 30) for share in ("0.5", "1")]),
        of.row("median hours to promotion, 1 % better, 1 / 10 symbols",
               [f"{hours}, {one}", f"{hours}, {ten}"]),
        of.row("guard: a 1 % worse model back within 30 days, 1 / 10 symbols",
               [guard.format(worse, one), guard.format(worse, ten)]),
        of.row("guard: an equal model taken back, 1 / 10 symbols",
               [guard.format(equal, one), guard.format(equal, ten)]),
        of.row("years with a false promotion, 365 equal daily candidates, 1 / 5 symbols",
               [f"{year}, {one}", f"{year}, {five}"]),
        *(of.row(f"years with a harmful promotion, all {share} % worse, 1 / 5 symbols",
                 [f"{harm}, all {share} % worse, {who}" for who in (one, five)], 0)
          for share in ("0.5", "2")),
        of.row("worst-case shortfall of mean R² (points), 1 / 5 symbols",
               [f"{lost}, {one}", f"{lost}, {five}"]),
    ])  # fmt: skip


class _Cells:
    """Of rows by their names; several share a cell."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def row(self, told: str, names: Sequence[str], places: int = 1) -> tuple[str, ...]:
        every = [self._rows[name] for name in names]
        unit, naive = every[0].unit, [row.naive for row in every if row.naive is not None]
        limits = list(dict.fromkeys(row.limit for row in every if row.limit is not None))
        must = "≥" if every[0].at_least else "≤"
        return (
            told, _several([row.ours for row in every], unit, places), _several(naive, unit, places),
            f"{must} {_several(limits, unit, 0)}",
        )  # fmt: skip


def _several(values: Sequence[float], unit: str, places: int) -> str:
    """Numbers with one unit behind them; points of R² have none."""
    if not values:
        return ""
    if unit == "%":
        shown = [_share(value, places) for value in values]
    else:
        shown = [f"{value:,.0f}" if unit == "h" else f"{value:.2f}" for value in values]
    return " / ".join(shown) + {"%": " %", "h": " h"}.get(unit, "")


def _share(value: float, places: int) -> str:
    """A share as percent; of nothing and of all without places."""
    return f"{100 * value:.{0 if value in (0, 1) else places}f}"


def promotion_summary(rows: Rows | None = None) -> str:
    """The four that the front page shows."""
    of = rows or simulated()
    false = of["years with a false promotion, all equal, 365 daily candidates, 1 symbol"]
    found = of["power, 1,000 holdout h, δ = 1.0%, 1 symbol"]
    hours = of["median hours to promotion, δ = 1 %, 10 symbols"].ours
    back = [
        of[f"guard: a 1 % worse model rolled back within 30 d, {who}"].ours
        for who in ("1 symbol", "10 symbols")
    ]
    assert false.naive is not None
    assert found.naive is not None
    return table("| | evidence (default) | 2 % better on point estimates |", [
        ("years with a false promotion, all candidates equal", f"{false.ours:.0%}".replace("%", " %"),
         f"{false.naive:.0%}".replace("%", " %")),
        ("a candidate truly 1 % better, found from 1,000 hours", f"{100 * found.ours:.0f} %",
         f"{100 * found.naive:.0f} %"),
        ("a candidate truly 1 % better, ten symbols pooled: median hours until promoted",
         f"{hours:.0f}", "–"),
        ("a promoted model truly 1 % worse, taken back within 30 days, 1 / 10 symbols",
         f"{_rare(back[0])} / {_rare(back[1])} %", "never"),
    ])  # fmt: skip


def _rare(share: float) -> str:
    """Near one its distance from it counts."""
    return f"{100 * share:.{1 if 0.99 < share < 1 else 0}f}"


def promotion_real(
    candles: Path | None = None,
    symbols: Symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
    start: str = "2023-01-01",
    end: str = "2025-01-01",
    **environment: str,
) -> str:
    """Each policy over real candles, year by year."""
    with tempfile.TemporaryDirectory() as folder:
        report = commands.replay(
            Path(folder), candles, "--symbols", ",".join(symbols), "--start", start,
            "--end", end, "--step-days", "7", **environment,
        )  # fmt: skip
    return real_table(report["scores"])


def real_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """scores: of a replay's report, one model."""
    years = sorted({year for one in scores for year in one["by_year"]})
    header = "".join(f" R² {year} | direction |" for year in years)
    rows: list[tuple[str, ...]] = []
    for one in scores:
        cells = []
        for year in years:
            of = one["by_year"].get(year)
            cells += ["–", "–"] if of is None else [
                f"{points(of['r2'])} / {points(of['r2_clipped'])}", _percent(of["directional_accuracy"])
            ]  # fmt: skip
        rows.append((
            one["policy"], one["symbol"].removesuffix("USDT"), *cells, _promotions(one), _harmful(one),
            "–" if one["mean_age_days"] is None else f"{one['mean_age_days']:.0f} d",
        ))  # fmt: skip
    return table(f"| policy | series |{header} promotions | harmful | mean age |", rows)


def _promotions(one: Mapping[str, Any]) -> str:
    """All but the first; by their labels where what they were for is not what the policy is called after."""
    later = {label: n for label, n in sorted(one["promotions"].items()) if label != "first"}
    if not later:
        return "1 first"
    return (
        ", ".join(f"{n} {label}" for label, n in later.items())
        if one["policy"] == "evidence"
        else str(sum(later.values()))
    )


def _harmful(one: Mapping[str, Any]) -> str:
    return f"{one['harmful']} of {one['looked_back']}" if one["looked_back"] else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def neural(
    candles: Path | None = None,
    models: Sequence[str] = ("xgboost", "lightgbm", "nhits", "patchtst"),
    start: str = "2024-01-01",
    end: str = "2025-01-01",
    **environment: str,
) -> str:
    """Trees and networks over a year, and the ensemble of all."""
    with tempfile.TemporaryDirectory() as folder:
        report = commands.replay(
            Path(folder), candles, "--symbols", "BTCUSDT", "--models", ",".join(models),
            "--policies", "evidence", "--start", start, "--end", end, **environment,
        )  # fmt: skip
    return models_table(report["scores"])


def models_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """scores: of a replay's report, one policy and series."""
    trees = min((one["seconds"] for one in scores if one["seconds"]), default=1.0)
    rows = [("forecasting zero", f"{scores[0]['hours']:,}", "0", "–", "–", "–", "–")]
    for one in scores:
        every = [f"{n} {label}" for label, n in sorted(one["promotions"].items())]
        rows.append((
            one["model_type"], f"{one['hours']:,}",
            f"{100 * one['r2']:+.3f} / {100 * one['r2_clipped']:+.3f}", _percent(one["directional_accuracy"]),
            ", ".join(every) or "–", _harmful(one),
            f"{one['seconds'] / trees:.1f}" if one["seconds"] else "–",
        ))  # fmt: skip
    header = (
        "| model | hours | R² against zero, raw / winsorised, % | direction | promotions | harmful | "
        "training, × the quickest |"
    )
    return table(header, rows)


def pooled(
    candles: Path | None = None,
    symbols: Symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
    start: str = "2024-01-01",
    end: str = "2024-12-31",
    **environment: str,
) -> str:
    """One model over all series beside each series' own."""
    with tempfile.TemporaryDirectory() as folder:
        commands.replay(
            Path(folder), candles, "--symbols", ",".join(symbols), "--policies",
            "evidence", "--pool", "--start", start, "--end", end,
            **{"CLM_POOLED_MODELS": "lightgbm", **environment},
        )  # fmt: skip
        state = Path(folder) / f"evidence-{'-'.join(symbols)}" / "clm.db"
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
            return pooled_table(database, symbols)


def pooled_table(database: sqlite3.Connection, symbols: Symbols) -> str:
    """database: a replay's state, where lightgbm is trained both ways."""
    own, one, most, weeks = [], [], [], 0
    for symbol in symbols:
        rows = database.execute(
            "SELECT recipe_id, metrics_json, origin_json FROM clm_model_versions WHERE symbol = ?", (symbol,)
        ).fetchall()
        r2: dict[bool, list[float]] = {True: [], False: []}
        recipes = set()
        for recipe, metrics, origin in rows:
            over_all = bool((json.loads(origin) if origin else {}).get("pooled"))
            r2[over_all].append(json.loads(metrics)["r2"])
            recipes |= {recipe} if over_all else set()
        (highest,) = database.execute(
            "SELECT MAX(log_e) FROM clm_evidence WHERE symbol = ? AND kind = 'challenge' AND recipe_id IN "
            f"({','.join('?' * len(recipes))})", (symbol, *recipes),
        ).fetchone()  # fmt: skip
        weeks = max(weeks, len(r2[True]))
        own.append(f"{100 * mean(r2[False]):+.3f} %")
        one.append(f"{100 * mean(r2[True]):+.3f} %")
        most.append("–" if highest is None else f"{exp(highest):.1f}")
    names = " | ".join(symbol.removesuffix("USDT") for symbol in symbols)
    return table(f"| R² on the holdouts, mean of {weeks} weeks | {names} |", [
        ("each series' own", *own), (f"one over all {_WORDS.get(len(symbols), len(symbols))}", *one),
        (f"the most its E came to, of {2 * _NEEDED}", *most),
    ])  # fmt: skip


_WORDS = {2: "two", 3: "three", 4: "four"}


_MOMENTS = tuple(datetime(year, month, 1, tzinfo=UTC) for year in (2023, 2024) for month in range(2, 13, 2))


def explain_memory(
    candles: Path | None = None,
    symbols: Symbols = ("BTCUSDT", "ETHUSDT"),
    moments: Sequence[datetime] = _MOMENTS,
    weeks: Sequence[int] = (1, 5, 26),
    **environment: str,
) -> str:
    """How far importances move between refits of the default recipe so many weeks apart."""
    moved: dict[int, list[tuple[float, float]]] = {apart: [] for apart in weeks}
    for symbol in symbols:
        for moment in moments:
            with tempfile.TemporaryDirectory() as folder:
                for apart, found in _apart(Path(folder), candles, symbol, moment, weeks, environment).items():
                    moved[apart].append(found)
    rows = [
        (
            f"{apart} week{'s' if apart > 1 else ''}",
            f"{mean(r for r, _ in of):.2f}",
            f"{100 * mean(m for _, m in of):.0f} %",
        )
        for apart, of in moved.items()
    ]
    return table("| versions apart | rank correlation | importance that moved |", rows)


def _apart(
    folder: Path, candles: Path | None, symbol: str, moment: datetime, weeks: Sequence[int],
    environment: Mapping[str, str],
) -> dict[int, tuple[float, float]]:  # fmt: skip
    """(rank correlation, share that moved) of a version and each that is so many weeks older."""
    given = {"CLM_SYMBOLS": symbol, "CLM_MODELS": "lightgbm", "CLM_LIVE_SHADOW": "false", **environment}
    made: dict[int, str] = {}
    for apart in (*sorted(weeks, reverse=True), 0):
        with commands.replayed(moment - timedelta(weeks=apart), candles, symbol) as url:
            commands.clm(folder, "retrain", "--force", CLM_BINANCE_URL=url, **given)
            told = json.loads(
                commands.clm(folder, "history", "lightgbm", "--json", CLM_BINANCE_URL=url, **given)
            )
            made[apart] = told["versions"][0]["version"]
            if apart == 0:
                return {w: _between(folder, url, made[0], made[w], given) for w in weeks}
    raise AssertionError("the newest comes last")


def _between(
    folder: Path, url: str, version: str, against: str, given: Mapping[str, str]
) -> tuple[float, float]:
    told = commands.clm(
        folder, "explain", "lightgbm", "--version", version, "--against", against, "--json",
        CLM_BINANCE_URL=url, **given,
    )  # fmt: skip
    drift = json.loads(told)["drift"]
    return drift["rank_correlation"], drift["moved"]
