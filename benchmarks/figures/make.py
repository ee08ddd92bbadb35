"""How each figure is made. What a page shows of an output is its lines without times and run ids."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import CANDLES, Figure, NotHere
from clm.exchange.clock import ExchangeClock
from clm.exchange.replay import read_market
from clm.exchange.server import ExchangeServer

_CLM = (sys.executable, "-m", "clm")
_ELLIPSIS = "…"


def _clm(folder: Path, *arguments: str, **environment: str) -> str:
    """Standard output of a command, in a folder with nothing but what commands before it left."""
    own = {n: v for n, v in os.environ.items() if not n.startswith("CLM_")}
    given = {**own, "OMP_NUM_THREADS": "1", "COLUMNS": "400", "CLM_LOG_LEVEL": "error",
             "CLM_WORKER_NICENESS": "0", **environment}  # fmt: skip
    done = subprocess.run(
        [*_CLM, *arguments], cwd=folder, env=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"clm {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


@contextmanager
def _replayed(moment: datetime) -> Iterator[str]:
    """The address of `clm exchange --replay candles/`, its clock standing at a moment."""
    if not CANDLES.is_dir():
        raise NotHere(f"no real candles at {CANDLES}")
    with ExchangeServer(read_market(CANDLES), ExchangeClock(moment, speed=0)) as server:
        yield server.url


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
        output = _clm(Path(folder), "demo", "--yes")
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
    with _replayed(datetime(2024, 12, 31, tzinfo=UTC)) as url, tempfile.TemporaryDirectory() as folder:
        output = _clm(
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
    rows = ["| BTCUSDT | look-back | model | candles | R² | direction |", "|---|---|---|---|---|---|"]
    every = (
        (datetime(2024, 12, 31, tzinfo=UTC), "1h", 90), (datetime(2024, 12, 31, tzinfo=UTC), "1h", 30),
        (datetime(2024, 6, 25, tzinfo=UTC), "5m", 355),
    )  # fmt: skip
    for moment, interval, days in every:
        with _replayed(moment) as url, tempfile.TemporaryDirectory() as folder:
            output = _clm(
                Path(folder), "retrain", CLM_BINANCE_URL=url, CLM_INTERVAL=interval,
                CLM_TRAINING_LOOKBACK_DAYS=str(days),
            )  # fmt: skip
        for line in output.splitlines():
            if " candidate " in line:
                cells = re.split(r" {2,}", line.strip())
                _, model, _, candles, _, direction, r2 = cells[:7]
                where = f"{interval} at {moment:%Y-%m-%d} | {days} days"
                rows.append(f"| {where} | {model} | {candles} | {r2} | {direction} |")
    return "\n".join(rows)


def search() -> str:
    """Twenty proposals for Bitcoin's hours, at two moments."""
    rows = [
        "| the exchange's clock at | model | present recipe | best of 20 | lead | needed | proposed |",
        "|---|---|---|---|---|---|---|",
    ]
    for moment, model in (
        (datetime(2024, 12, 31, tzinfo=UTC), "xgboost"), (datetime(2024, 12, 31, tzinfo=UTC), "lightgbm"),
        (datetime(2023, 12, 31, tzinfo=UTC), "lightgbm"),
    ):  # fmt: skip
        with _replayed(moment) as url, tempfile.TemporaryDirectory() as folder:
            told = _clm(
                Path(folder), "search", "--models", model, "--trials", "20", "--minutes", "30", "--dry-run",
                "--json", CLM_BINANCE_URL=url,
            )  # fmt: skip
        rows.append(_search_row(moment, model, told))
    return "\n".join(rows)


def _search_row(moment: datetime, model: str, told: str) -> str:
    (found,) = json.loads(told)["searches"]
    verdict, whole = found["verdict"], [one for one in found["tried"] if one["outcome"] == "searched"]
    best = max((one["score"] for one in whole[1:]), default=None)
    lead, needed = "–", "–"
    if verdict["gain"] is not None:
        lead = _points(verdict["gain"])
    if verdict["gain"] is not None and verdict["gain"] > 0:
        error = verdict["standard_error"]
        lead += f" ({100 * error:.3f}), {verdict['gain'] / error:.1f} errors"
        needed = f"{verdict['needed']:.1f}"
    cells = (
        f"{moment:%Y-%m-%d}", model, f"{_points(whole[0]['score'])} %",
        "–" if best is None else f"{_points(best)} %", lead, needed,
        "nothing" if verdict["proposed"] is None else "the best",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _points(share: float) -> str:
    """A share as percent, as text has it."""
    return f"{100 * share:+.3f}".replace("-", "−")


def _operated(folder: Path) -> None:
    """A registry that somebody has used for a while, as the rehearsals of the documentation have it."""
    from tests.support.exchange import serving, simulated

    with serving(simulated()) as exchange:
        few = '{"xgboost": {"num_trees": 5}, "lightgbm": {"num_trees": 5}}'
        _clm(
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
        output = _clm(place, "backup", str(place / "2026-11-25"))
    told = _table(output, place, ("clm_decisions", "clm_forecasts", "clm_model_versions"))
    told = re.sub(r"as of .* UTC", "as of 2026-11-25 02:23:27 UTC", told)
    return f"$ clm backup /var/backups/clm/2026-11-25\n{told}"


def bench() -> str:
    """`make bench`, its ratios, rounded as far as they repeat."""
    from benchmarks import cycle, features, fetch, newest

    rows = ["| what | against | ratio |", "|---|---|---|"]
    for scenario in (features.run, newest.run, fetch.run, cycle.run):
        rows += [f"| {one.name} | {one.peer_name} | {one.ratio:.1g} |" for one in scenario()]
    return "\n".join(rows)


#: Name → how it is made. Those without `make` are put together by hand from what their command prints.
FIGURES: dict[str, Figure] = {
    "demo": Figure("make demo", 1.0, demo),
    "real-candles": Figure("clm retrain, against clm exchange --replay candles/", 0.4, real_candles),
    "real-elsewhere": Figure("clm retrain, against clm exchange --replay candles/", 0.6, real_elsewhere),
    "backup": Figure("clm backup", 0.2, backup),
    "search": Figure("clm search --trials 20 --dry-run, against clm exchange --replay candles/", 3, search),
    "bench": Figure("make bench", 3, bench),
    "promotion-summary": Figure("make bench-promotion", 13),
    "promotion": Figure("make bench-promotion", 13),
    "promotion-real": Figure("clm replay --candles candles/ --step-days 7, for each policy", 90),
    "many-series": Figure("the command in each row", 120),
    "newest-candle": Figure("make bench-serving", 5),
    "series-growth": Figure("make bench-growth", 30),
    "series-cost": Figure("make bench-growth", 30),
    "explain-memory": Figure("clm explain --against, on weekly refits of real candles", 20),
    "neural": Figure("clm replay --candles candles/ --models nhits,patchtst", 240),
    "pooled": Figure("clm replay --candles candles/ with CLM_POOLED_MODELS", 60),
    "serving": Figure("make bench-serving", 5),
}
