"""A run over several series is done side by side, each series once, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.asking import free_port
from benchmarks.rehearsal import NOW, broken_promises
from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.domain import Progress, Series
from clm.core.errors import ExecutorUnavailable
from clm.core.runs import Run, RunRequest, RunState
from clm.exchange.clock import ExchangeClock
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.fanout import Task, cycle, perform
from clm.jobs.supervisor import to_be_resumed
from clm.settings import Settings
from tests.support.exchange import hold_back, let_go
from tests.support.service import caller, running_service, settings_for, wait_for_end
from tests.support.waiting import eventually

TWO = {"symbols": ("BTCUSDT", "ETHUSDT"), "processes": 2, "executor": "local"}
FIVE = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT")


def _done(application: Application, **more: Any) -> Run:
    run = application.supervisor.submit(RunRequest(**more))
    return wait_for_end(application, run.run_id)


def _versions(application: Application) -> Counter[str]:
    return Counter(
        f"{series} {model}"
        for series in application.series
        for model in application.models
        for _ in application.registry.for_series(series).get_model_history(model, limit=100)
    )


@pytest.mark.parametrize("executor", [pytest.param("local", marks=pytest.mark.rehearse), "inline"])
def test_every_series_is_done_once_and_the_report_is_the_same_either_way(
    executor: str, tmp_path: Path
) -> None:
    with running_service(tmp_path, **{**TWO, "executor": executor}) as (application, _):
        run = _done(application, requested_by="rest")

        assert (run.state, run.error) == (RunState.COMPLETED, None)
        assert run.report is not None
        assert run.report["promoted_models"] == ["xgboost", "lightgbm"]
        assert list(run.report["by_series"]) == ["BTCUSDT 1h", "ETHUSDT 1h"]
        assert [e["symbol"] for e in run.report["evaluations"]] == ["BTCUSDT"] * 2 + ["ETHUSDT"] * 2
        assert run.progress["done"] == run.progress["total"]
        assert set(_versions(application).values()) == {1}
        assert broken_promises(application) == []


@pytest.mark.rehearse
def test_what_is_done_in_other_processes_is_told_model_by_model_while_it_goes_on(tmp_path: Path) -> None:
    seen: set[tuple[str, str]] = set()
    # Each fit takes the processor long enough to be seen, however slow that is.
    few = {"num_trees": 5, "min_data_in_leaf": 100}
    many = {"xgboost": {"num_trees": 400, "min_data_in_leaf": 100}, "lightgbm": few}
    with running_service(tmp_path, training_params=many, **TWO) as (application, exchange):
        exchange.exchange.latency = 0.2
        run_id = application.supervisor.submit(RunRequest()).run_id
        while not application.runs.get(run_id).state.over:
            told = application.turns(run_id)["models"]
            seen |= {(turn["state"], str(turn["said"])) for turn in told if turn["state"] != "queued"}
        wait_for_end(application, run_id)

    states = {state for state, _ in seen}
    assert {"fetching", "training", "promoted"} <= states
    assert any(said.startswith("training xgboost on") for state, said in seen if state == "training")


@pytest.mark.rehearse
def test_side_by_side_the_models_are_those_of_one_after_the_other(tmp_path: Path) -> None:
    found = []
    for executor in ("local", "inline"):
        folder = tmp_path / executor
        folder.mkdir()
        with running_service(folder, **{**TWO, "executor": executor}) as (application, _):
            _done(application)
            registries = [application.registry.for_series(series) for series in application.series]
            champions = [registry.get_active(m) for registry in registries for m in application.models]
            found.append([(a.artifact_sha256, a.metrics) for a in champions if a is not None])

    assert len(found[0]) == 4
    assert found[0] == found[1]


@pytest.mark.rehearse
def test_a_series_that_fails_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    with running_service(tmp_path, symbols=("BTCUSDT", "NOSUCHCOIN"), processes=2, executor="local") as (
        application,
        _,
    ):
        run = _done(application)

        assert run.state is RunState.COMPLETED
        assert run.report is not None
        assert run.report["models_trained"] == ["xgboost", "lightgbm"]
        assert "NOSUCHCOIN" in str(run.report["by_series"]["NOSUCHCOIN 1h"]["error"])
        assert all("NOSUCHCOIN" in cause for cause in run.report["failures"].values())


def test_a_task_whose_run_was_given_to_another_writes_nothing(tmp_path: Path) -> None:
    with running_service(tmp_path, **TWO) as (application, _):
        run = application.runs.create(RunRequest())
        held = application.runs.start(run.run_id, "somebody:1")
        application.runs.interrupt(run.run_id, "silent")
        task = Task(application.settings.for_children(), application.series[0], None, False, held.fence)

        done = cycle(task)

        assert done.reports == ()
        assert done.lost is not None
        assert not _versions(application)


def _five(folder: Path) -> tuple[ExchangeServer, Settings]:
    market = simulate_market(
        FIVE, "1h", start=NOW - timedelta(days=120), end=NOW + timedelta(days=1), seed=3, signal=0.04
    )
    exchange = ExchangeServer(market, ExchangeClock(NOW, speed=0))
    return exchange, settings_for(exchange, folder, symbols=FIVE, processes=2, executor="local")


@pytest.mark.rehearse
@pytest.mark.parametrize("victim", ["the worker", "one of its processes"])
def test_killed_half_way_nothing_is_trained_twice_and_all_is_done_in_the_end(
    victim: str, tmp_path: Path
) -> None:
    exchange, settings = _five(tmp_path)
    with exchange, Application(settings, interactive=True) as application:
        # Series take some seconds each; from here on nobody is given the candles of another one.
        exchange.exchange.latency = 0.5
        run = application.supervisor.submit(RunRequest(force=True))
        eventually(lambda: _finished(application, run.run_id) >= 2, "series that are done")
        hold_back(exchange)
        worker = psutil.Process(int(application.runs.get(run.run_id).owner.rpartition(":")[2]))
        pool = [child for child in worker.children() if "spawn_main" in " ".join(child.cmdline())]
        os.kill(worker.pid if victim == "the worker" else pool[0].pid, signal.SIGKILL)
        let_go(exchange)
        eventually(lambda: _over(application, run.run_id), "the end of the run")

        ended = application.runs.get(run.run_id)
        assert ended.state is RunState.COMPLETED
        assert ended.report is not None
        assert set(_versions(application).values()) <= {1, 2}
        if victim == "the worker":
            assert len(ended.interruptions) == 1
            assert set(_versions(application)) == {
                f"{s} 1h {m}" for s in FIVE for m in ("xgboost", "lightgbm")
            }
            assert set(ended.report["by_series"]) == {f"{Series(symbol, '1h')}" for symbol in FIVE}
            assert broken_promises(application) == []
        else:
            failed = [s for s, own in ended.report["by_series"].items() if own.get("error")]
            assert len(failed) <= 1
            assert all("SIGKILL" in ended.report["by_series"][s]["error"] for s in failed)
        finished = application.runs.journal(run.run_id)
        assert all(int(entry.get("begun", 0)) <= 2 for entry in finished.values())
        again = {key: entry for key, entry in finished.items() if entry.get("begun") == 2}
        # At most what two processes were at when they died.
        assert len(again) <= 2


def _finished(application: Application, run_id: str) -> int:
    return sum(entry.get("report") is not None for entry in application.runs.journal(run_id).values())


def _over(application: Application, run_id: str) -> bool:
    run = application.runs.get(run_id)
    return run.state.over and not to_be_resumed(run)


@contextmanager
def _cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The documented two commands: (address for CLM_EXECUTOR, the workers' processes)."""
    port = free_port()
    dask = (sys.executable, "-m", "dask")
    with ExitStack() as stack:

        def begin(*arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*dask, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        begin("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        alone = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        begun = [begin("worker", f"tcp://127.0.0.1:{port}", *alone) for _ in range(workers)]
        yield f"dask://127.0.0.1:{port}", begun


@pytest.mark.rehearse
def test_on_a_cluster_a_worker_that_is_killed_half_way_is_followed_by_another(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    exchange, settings = _five(tmp_path)
    with _cluster(tmp_path, workers=2) as (address, workers), exchange:
        there = settings.model_copy(update={"executor": address})
        with Application(there, interactive=True) as application:
            exchange.exchange.latency = 0.5
            run = application.supervisor.submit(RunRequest(force=True))
            eventually(lambda: _finished(application, run.run_id) >= 3, "series that are done")
            hold_back(exchange)
            workers[0].kill()
            let_go(exchange)
            eventually(lambda: _over(application, run.run_id), "the end of the run")

            ended = application.runs.get(run.run_id)
            journal = application.runs.journal(run.run_id)
            assert (ended.state, ended.error) == (RunState.COMPLETED, None)
            assert ended.report is not None
            assert set(ended.report["by_series"]) == {f"{symbol} 1h" for symbol in FIVE}
            assert ended.report["failed_models"] == []
            assert set(_versions(application)) == {f"{s} 1h {m}" for s in FIVE for m in application.models}
            assert len([entry for entry in journal.values() if entry.get("begun", 0) > 1]) <= 1
            assert broken_promises(application) == []


@pytest.mark.rehearse
def test_on_a_cluster_a_series_that_takes_too_long_fails_alone_and_its_worker_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    exchange, settings = _five(tmp_path)
    with _cluster(tmp_path, workers=1) as (address, (worker,)), exchange:
        there = settings.model_copy(update={"executor": address, "series_time_limit_minutes": 0.2 / 60})
        exchange.exchange.latency = 1
        with Application(there, interactive=True) as application:
            run = application.supervisor.submit(RunRequest(force=True))
            eventually(lambda: _over(application, run.run_id), "the end of the run")

            ended = application.runs.get(run.run_id)
            assert ended.state is RunState.FAILED
            assert str(ended.error).count("it took longer than the limit of 0 s") == len(FIVE)
            assert worker.poll() is None
            assert not _versions(application)


@pytest.mark.rehearse
def test_a_cluster_that_does_not_answer_fails_the_run_with_that_reason(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with running_service(tmp_path, **{**TWO, "executor": f"dask://127.0.0.1:{free_port()}"}) as (
        application,
        _,
    ):
        run = _done(application)

        assert run.state is RunState.FAILED
        assert "no Dask scheduler answers at tcp://127.0.0.1:" in str(run.error)
        assert not _versions(application)


@pytest.mark.rehearse
def test_a_cluster_without_workers_is_said_in_the_run_and_in_readiness(tmp_path: Path) -> None:
    """It was silence until the run's limit, two hours."""
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with _cluster(tmp_path, workers=0) as (address, _):
        with running_service(tmp_path, **{**TWO, "executor": address}) as (application, _):
            # Until the scheduler listens.
            eventually(lambda: _lacks(application), "a scheduler that answers")
            ready = caller(create_app(application)).get("/health/ready")
            assert ready.status_code == 503
            assert "no worker has joined" in ready.json()["checks"]["cluster"]["reason"]

            run = application.runs.create(RunRequest(force=True))
            run = application.runs.start(run.run_id, "here")

            class Said(Exception):
                """Enough was heard."""

            def hear(progress: Progress) -> None:
                if "no worker has joined the Dask scheduler at tcp://127.0.0.1:" in progress.message:
                    raise Said

            with pytest.raises(Said):
                perform(application, run, hear, silence=0.2)


def _lacks(application: Application) -> str | None:
    try:
        return application.cluster_lacks(5)
    except ExecutorUnavailable:
        return None
