"""An exchange that is frozen rather than down keeps nobody from what is stored."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.asking import free_port
from clm.core.errors import ExchangeUnavailable
from clm.core.impatient import Impatient
from tests.support.quick import REAL
from tests.support.shell import Shell, serving_clm
from tests.support.waiting import LIMIT, eventually

#: The exchange is waited for by whoever must, twice for twenty seconds; nobody here waits once.
SOON = 15.0


class TestImpatient:
    def test_tells_what_it_is_told_or_what_went_wrong(self) -> None:
        assert Impatient(lambda: 3, LIMIT, "the exchange")() == 3
        with pytest.raises(ZeroDivisionError):
            Impatient(lambda: 1 / 0, LIMIT, "the exchange")()

    def test_asks_one_question_at_a_time_however_many_want_to_know(self) -> None:
        answer, asked = threading.Event(), []

        def ask() -> int:
            asked.append(threading.current_thread())
            answer.wait(LIMIT)
            return 7

        impatient = Impatient(ask, 0.01, "the exchange at x")
        for _ in range(5):
            with pytest.raises(
                ExchangeUnavailable, match=r"the exchange at x did not answer within 0\.01 seconds"
            ):
                impatient()
        assert len(asked) == 1

        answer.set()
        asked[0].join()
        assert Impatient(ask, LIMIT, "x")() == 7
        assert impatient() == 7
        assert len(asked) == 3


@pytest.mark.rehearse
def test_what_is_stored_is_answered_and_the_rest_says_why_it_is_not(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [REAL, "-c", "from clm.cli import main; main()", "exchange", "--simulate"]
    command += ["--port", str(port), "--days", "120"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as exchange:
        try:
            eventually(lambda: _answers(f"{url}/api/v3/time"), "the exchange")
            shell = Shell(tmp_path, {
                "CLM_BINANCE_URL": url, "CLM_FEATURES": "basic", "CLM_TRAINING_LOOKBACK_DAYS": "90",
                "CLM_TRAINING_PARAMS": '{"lightgbm": {"num_trees": 5, "min_data_in_leaf": 100}}',
                "CLM_MODELS": "lightgbm", "CLM_EXECUTOR": "inline", "CLM_SCHEDULE": "off",
                "CLM_LIVE_SHADOW": "false", "CLM_RATE_LIMIT_PER_MINUTE": "0",
            })  # fmt: skip
            trained = shell("retrain", "--force")
            assert trained.returncode == 0, trained.stderr
            with serving_clm(shell, tmp_path / "log") as (_, service):
                answer = httpx.get(f"{service}/api/clm/predict", timeout=LIMIT).json()
                assert answer["forecast"] is not None
                paths = _reads(httpx.get(f"{service}/openapi.json", timeout=LIMIT).json())
                os.kill(exchange.pid, signal.SIGSTOP)

                took = {}
                for path in [*paths, "/health/ready", "/", "/data", "/drift", "/explain"]:
                    began = time.monotonic()
                    given = httpx.get(f"{service}{path}", timeout=LIMIT)
                    took[path] = (time.monotonic() - began, given.status_code, given.text[:300])

                assert {p: t for p, t in took.items() if t[0] > SOON} == {}
                assert {p: t for p, t in took.items() if t[1] >= 500 and t[1] != 503} == {}
                unavailable = [t[2] for t in took.values() if t[1] == 503]
                assert all("did not answer within" in said or "exchange" in said for said in unavailable)
        finally:
            os.kill(exchange.pid, signal.SIGCONT)
            exchange.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=LIMIT).status_code == 200
    except httpx.TransportError:
        return False


def _reads(document: dict[str, object]) -> list[str]:
    """Every GET, of this model and series."""
    paths = [path for path, of in document["paths"].items() if "get" in of]  # type: ignore[attr-defined]
    named = [path.replace("{model_type}", "lightgbm") for path in paths]
    return [path for path in named if "{" not in path and "events" not in path]
