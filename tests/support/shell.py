"""A user's shell: `clm` as real processes, settings in the environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.asking import free_port
from clm.exchange.server import ExchangeServer
from tests.support.waiting import LIMIT, eventually

FEW = json.dumps({m: {"num_trees": 5, "min_data_in_leaf": 100} for m in ("xgboost", "lightgbm")})
CLM = (sys.executable, "-c", "from clm.cli import main; main()")


@dataclass
class Shell:
    """A user's shell in an empty folder, settings in its environment."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLM, *arguments], cwd=self.folder, env={**os.environ, **self.environment, **more},
            capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip

    def json(self, *arguments: str, **more: str) -> Any:
        done = self(*arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def anew(self) -> Shell:
        """The same, each of its processes a fresh interpreter: where it matters how one begins."""
        return replace(self, environment={**self.environment, "CLM_TEST_REAL_PYTHON": "1"})

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*CLM, *arguments], cwd=self.folder, env={**os.environ, **self.environment, **more},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


def shell_in(folder: Path, exchange: ExchangeServer) -> Shell:
    """Basic features, 90 days, a few trees, everything in `folder`."""
    return Shell(
        folder,
        {
            "CLM_BINANCE_URL": exchange.url, "CLM_TRAINING_LOOKBACK_DAYS": "90", "CLM_FEATURES": "basic",
            "CLM_TRAINING_PARAMS": FEW, "CLM_LOG_LEVEL": "error", "COLUMNS": "160",
            # A worker that stands back may not be begun while another test is busy.
            "CLM_WORKER_NICENESS": "0", "CLM_EXECUTOR": "inline",
        },
    )  # fmt: skip


def line_of(process: subprocess.Popen[str], pattern: str) -> str:
    """The first line on standard error that the pattern is found in."""
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"{pattern} was never printed")


@contextmanager
def serving_clm(shell: Shell, log: Path, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A real `clm serve` that answers, and its address; killed afterwards if it has not ended by itself."""
    port = free_port()
    environment = {**os.environ, **shell.environment, **more, "CLM_PORT": str(port)}
    base = f"http://127.0.0.1:{port}"
    with log.open("ab") as out:
        process = subprocess.Popen([*CLM, "serve"], cwd=shell.folder, env=environment, stdout=out, stderr=out)
    try:
        until_it_answers(base)
        yield process, base
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until_it_answers(base: str) -> None:
    """Returns once a service at that address does."""

    def answers() -> bool:
        try:
            httpx.get(f"{base}/health/live", timeout=LIMIT)
        except httpx.TransportError:
            return False
        return True

    eventually(answers, f"an answer of {base}")
