"""An exchange that is frozen rather than down keeps nobody from what is stored."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.asking import free_port
from clm.core.errors import ExchangeUnavailable
from clm.core.impatient import Impatient
from tests.support.quick import REAL
from tests.support.shell import Shell, serving_clm
from tests.support.waiting import LIMIT, eventually

#: Seconds: what is promised on a machine that has nothing else to do, and what a busy one is allowed. Whoever
#: waits for the exchange itself waits twice for twenty seconds.
PROMISED, SOON = 2.0, 15.0
#: Questions that would take a minute, each waited for.
LATER = 60


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

    def test_whoever_comes_later_waits_for_what_is_left_alone(self) -> None:
        """Twenty experiments that each want the time cost one wait, and not twenty."""
        answer = threading.Event()
        impatient = Impatient(lambda: answer.wait(LIMIT), 1.0, "the exchange")
        with pytest.raises(ExchangeUnavailable):
            impatient()

        began = time.monotonic()
        for _ in range(LATER):
            with pytest.raises(ExchangeUnavailable):
                impatient()

        assert time.monotonic() - began < LATER * 1.0
        answer.set()


@dataclass(frozen=True)
class Given:
    """An answer of the service and the seconds that it took."""

    seconds: float
    status: int
    said: str


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[int], None]]]:
    """An exchange in a process of its own: its address, and what sends it a signal."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [REAL, "-c", "from clm.cli import main; main()", "exchange", "--simulate"]
    command += ["--port", str(port), "--days", "120"]
    folder = tmp_path_factory.mktemp("exchange")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _answers(f"{url}/api/v3/time"), "the exchange")
            yield url, process.send_signal
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture(scope="module")
def shell(exchange: Any, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Two versions of one model, one of them reigning, and an experiment between them."""
    shell = Shell(tmp_path_factory.mktemp("stored"), {
        "CLM_BINANCE_URL": exchange[0], "CLM_FEATURES": "basic", "CLM_TRAINING_LOOKBACK_DAYS": "90",
        "CLM_TRAINING_PARAMS": '{"lightgbm": {"num_trees": 5, "min_data_in_leaf": 100}}',
        "CLM_MODELS": "lightgbm,xgboost", "CLM_EXECUTOR": "inline", "CLM_SCHEDULE": "off",
        "CLM_LIVE_SHADOW": "false", "CLM_RATE_LIMIT_PER_MINUTE": "0",
    })  # fmt: skip
    for seed in ("1", "2"):
        trained = shell("retrain", "--force", CLM_TRAINING_SEED=seed)
        assert trained.returncode == 0, trained.stderr
    with serving_clm(shell, shell.folder / "log") as (_, service):
        versions = httpx.get(f"{service}/api/clm/history/lightgbm", timeout=LIMIT).json()["versions"]
        body = {"model_type": "lightgbm", "versions": [v["version"] for v in versions[:2]], "days": 30}
        made = httpx.post(f"{service}/api/clm/experiments", json=body, timeout=LIMIT)
        assert made.status_code == 201, made.text
    return shell


@pytest.mark.rehearse
@pytest.mark.parametrize("when", ["while it runs", "before it begins"])
def test_what_is_stored_is_answered_and_the_rest_says_why_it_is_not(
    exchange: Any, shell: Shell, when: str, tmp_path: Path
) -> None:
    """Every GET of the OpenAPI document and every page, forecasts first."""
    with serving_clm(shell, tmp_path / "log") as (_, service):
        asked = everything(service)
        if when == "while it runs":
            first = httpx.get(f"{service}/api/clm/predict", timeout=LIMIT).json()
            assert first["forecast"] is not None
            with stopped(exchange[1]):
                given = [(path, _given(service, path)) for path in asked]
            # What was forecast before goes on being told, with the time it is told for.
            forecast = json.loads(dict(given)["/api/clm/predict"].said)["forecast"]
            assert forecast == first["forecast"]
    if when == "before it begins":
        with stopped(exchange[1]), serving_clm(shell, tmp_path / "log") as (_, service):
            given = [(path, _given(service, path)) for path in asked]
            again = [(path, _given(service, path)) for path in asked if "predict" in path]
            spoken = json.loads(given[0][1].said)
            assert (spoken["model"], spoken["usable"]) == ("lightgbm", False), spoken
            given += again

    _measured(when, given)
    assert {path: g for path, g in given if g.seconds > SOON} == {}
    assert {path: g for path, g in given if g.status != 200 and not _excused(path, g)} == {}


def everything(service: str) -> list[str]:
    """Paths that may be asked for, forecasts first; what they name is taken from what is stored."""
    from clm.dashboard.frame import PAGES

    def read(path: str) -> Any:
        answer = httpx.get(f"{service}/api/clm/{path}", timeout=LIMIT)
        assert answer.status_code == 200, answer.text
        return answer.json()

    versions = [version["version"] for version in read("history/lightgbm")["versions"][:2]]
    stored = {
        "model_type": ["lightgbm"], "name": ["none"], "version": versions[:1], "a": versions[:1],
        "b": versions[1:], "run_id": [read("runs")[0]["run_id"]],
        "decision_id": [str(row["id"]) for row in read("decisions")[:1]],
        "experiment_id": [row["experiment_id"] for row in read("experiments")[:1]],
    }  # fmt: skip
    document = httpx.get(f"{service}/openapi.json", timeout=LIMIT).json()
    paths = []
    for path, of in document["paths"].items():
        if "get" not in of:
            continue
        needed = [p for p in of["get"].get("parameters", ()) if p["required"]]
        for values in product(*(stored[p["name"]] for p in needed)):
            query = []
            for parameter, value in zip(needed, values, strict=True):
                if parameter["in"] == "path":
                    path = path.replace(f"{{{parameter['name']}}}", value)
                else:
                    query.append(f"{parameter['name']}={value}")
            paths.append("?".join([path, "&".join(query)] if query else [path]))
    pages = [*PAGES, f"/decisions/{stored['decision_id'][0]}", "/login", "/docs", "/metrics"]
    paths.sort(key=lambda path: "predict" not in path)
    assert paths[0] == "/api/clm/predict"
    return ["/api/clm/predict", "/api/clm/predict?caller=bot", *paths[1:], *pages]


@contextmanager
def stopped(send: Callable[[int], None]) -> Iterator[None]:
    """The exchange takes connections and answers nothing."""
    send(signal.SIGSTOP)
    try:
        yield
    finally:
        send(signal.SIGCONT)


def _given(service: str, path: str) -> Given:
    """The answer; of a stream, when its first part has come."""
    began = time.monotonic()
    with httpx.stream("GET", f"{service}{path}", timeout=LIMIT) as answer:
        said = next(answer.iter_text(), "") if path.endswith("/events") else answer.read().decode()
        return Given(time.monotonic() - began, answer.status_code, said[:10_000])


def _excused(path: str, given: Given) -> bool:
    """No replay was stored; and what needs the exchange says that it does not answer."""
    if given.status == 404:
        return path.startswith("/api/clm/replays/")
    return given.status == 503 and ("did not answer within" in given.said or "exchange" in given.said)


def _measured(when: str, given: list[tuple[str, Given]]) -> None:
    """For whoever runs this on a machine that has nothing else to do: `pytest -s`."""
    slowest = sorted(given, key=lambda one: -one[1].seconds)[:5]
    over = sum(g.seconds > PROMISED for _, g in given)
    said = [f"exchange stopped {when}: {len(given)} asked, {over} over {PROMISED:g} s; slowest:"]
    said += [f"  {found.seconds:.2f} s  {found.status}  {path}" for path, found in slowest]
    sys.stderr.write("\n".join(["", *said, ""]))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=LIMIT).status_code == 200
    except httpx.TransportError:
        return False
