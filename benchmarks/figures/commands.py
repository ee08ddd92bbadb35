"""What figures are made by: CLM's commands and the benchmarks, as anybody types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.figures import CANDLES, ROOT, NotHere
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import Market
from clm.exchange.replay import read_market
from clm.exchange.server import ExchangeServer

_CLM = (sys.executable, "-m", "clm")
#: Exit codes of a benchmark: all is as it must be, or a limit is missed, which its figures show.
_TOLD = (0, 1)


def clm(folder: Path, *arguments: str, **environment: str) -> str:
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


def bench(module: str, *arguments: str) -> str:
    """What `python -m benchmarks.MODULE …` prints, also where a limit is missed."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode not in _TOLD or not done.stdout.strip():
        raise RuntimeError(f"benchmarks.{module} {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def found(output: str, pattern: str) -> tuple[str, ...]:
    """The groups of the first line that the pattern is found in. Raises ValueError where there is none."""
    match = re.search(pattern, output, re.MULTILINE)
    if match is None:
        raise ValueError(f"no line like {pattern!r} in:\n{output}")
    return match.groups()


def candles() -> Path:
    """The folder of real candles. Raises NotHere."""
    if not CANDLES.is_dir():
        raise NotHere(f"no real candles at {CANDLES}")
    return CANDLES


@contextmanager
def replayed(moment: datetime, folder: Path | None = None, symbol: str | None = None) -> Iterator[str]:
    """The address of `clm exchange --replay candles/`, its clock standing at a moment.

    symbol: its hours alone, which are read quickly.
    """
    with ExchangeServer(_market(folder or candles(), symbol), ExchangeClock(moment, speed=0)) as server:
        yield server.url


@lru_cache(maxsize=2)
def _market(folder: Path, symbol: str | None) -> Market:
    if symbol is None:
        return read_market(folder)
    with tempfile.TemporaryDirectory() as alone:
        file = f"{symbol}-1h.parquet"
        (Path(alone) / file).symlink_to(folder / file)
        return read_market(Path(alone))


def replay(folder: Path, given: Path | None, *arguments: str, **environment: str) -> dict[str, Any]:
    """The report of `clm replay`, whose state stays in the folder. given: candles; None: the real ones."""
    told = clm(
        folder, "replay", "--candles", str(given or candles()), "--out", str(folder), "--json", *arguments,
        **environment,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(told)
    return report


def table(header: str, rows: Sequence[tuple[str, ...]]) -> str:
    """Markdown. header: its first line."""
    lines = [header, "|" + "---|" * (header.count("|") - 1)]
    return "\n".join([*lines, *(_line(row) for row in rows)])


def points(share: float) -> str:
    """A share as percent, as text has it."""
    return f"{100 * share:+.3f}".replace("-", "−")


def _line(row: tuple[str, ...]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in row)
