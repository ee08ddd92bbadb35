"""A run is a process of its own, and its row never lies about what became of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.bootstrap import Application
from clm.core.domain import Run, RunRequest, RunState
from clm.core.errors import RunInProgress, StorageFailed
from clm.exchange.server import ExchangeServer
from clm.jobs.supervisor import RunSupervisor
from support.service import running_service, wait_for_end

Service = tuple[Application, ExchangeServer]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as running:
        yield running


def _once_running(application: Application, run_id: str) -> Run:
    """The run as soon as its worker has said so."""
    for _ in range(400):
        run = application.runs.get(run_id)
        if run.state is RunState.RUNNING:
            return run
        time.sleep(0.02)
    raise AssertionError(f"{run_id} never ran: {run}")


def _slow(exchange: ExchangeServer) -> None:
    """Every answer of the exchange takes its time, so that a run lasts as long as a test needs."""
    exchange.exchange.latency = 0.5


def test_a_run_completes_in_a_child_and_leaves_its_report(service: Service) -> None:
    application, _ = service

    run = application.supervisor.submit(RunRequest(requested_by="rest"))
    ended = wait_for_end(application, run.run_id)

    assert (ended.state, ended.error) == (RunState.COMPLETED, None)
    assert ended.report is not None
    assert ended.report["promoted_models"] == ["xgboost", "lightgbm"]
    assert ended.owner.rpartition(":")[2] != str(os.getpid())
    assert ended.progress["done"] == ended.progress["total"] == 12


def test_a_second_run_is_refused_while_one_is_under_way(service: Service) -> None:
    application, exchange = service
    _slow(exchange)
    first = application.supervisor.submit(RunRequest())

    with pytest.raises(RunInProgress) as refused:
        application.supervisor.submit(RunRequest())

    assert refused.value.run_id == first.run_id
    application.supervisor.stop(first.run_id, RunState.CANCELLED, "enough")
    assert application.runs.get(first.run_id).state is RunState.CANCELLED


def test_a_worker_that_is_killed_leaves_a_failed_run_that_says_so_and_the_champions_as_they_were(
    service: Service,
) -> None:
    application, exchange = service
    wait_for_end(application, application.supervisor.submit(RunRequest()).run_id)
    before = application.manager().get_model_status_summary()
    _slow(exchange)
    run = application.supervisor.submit(RunRequest(force=True))

    pid = int(_once_running(application, run.run_id).owner.rpartition(":")[2])
    os.kill(pid, signal.SIGKILL)
    ended = wait_for_end(application, run.run_id)

    assert ended.state is RunState.FAILED
    assert ended.error == "the worker was killed by SIGKILL before it could report"
    assert application.manager().get_model_status_summary() == before
    assert [f for f in application.registry.verify() if f.severity == "error"] == []
    exchange.exchange.latency = 0
    again = application.supervisor.submit(RunRequest(force=True))
    assert wait_for_end(application, again.run_id).state is RunState.COMPLETED


def test_closing_the_service_ends_its_children_and_says_so(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        _slow(exchange)
        run = application.supervisor.submit(RunRequest())
        pid = int(_once_running(application, run.run_id).owner.rpartition(":")[2])
        application.supervisor.close()

        ended = application.runs.get(run.run_id)
        assert (ended.state, ended.error) == (RunState.INTERRUPTED, "the service was stopped")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_exchange_that_is_down_fails_the_run_with_its_reason(service: Service) -> None:
    application, exchange = service
    exchange.set_faults("418")

    ended = wait_for_end(application, application.supervisor.submit(RunRequest()).run_id)

    assert ended.state is RunState.FAILED
    assert "has banned this address" in str(ended.error)
    assert ended.report is not None
    assert set(ended.report["failed_models"]) == {"xgboost", "lightgbm"}


def test_a_worker_that_ends_without_a_word_or_cannot_start_is_told_apart(service: Service) -> None:
    application, _ = service
    silent = RunSupervisor(application.runs, "{}", worker=(sys.executable, "-c", "raise SystemExit(3)"))
    absent = RunSupervisor(application.runs, "{}", worker=("/no/such/interpreter",))

    ended = wait_for_end(application, silent.submit(RunRequest()).run_id)
    with pytest.raises(StorageFailed, match="could not be started"):
        absent.submit(RunRequest())

    assert ended.error == "the worker ended with exit code 3 before it could report"
    latest = application.runs.latest()
    assert latest is not None
    assert latest.state is RunState.FAILED


def test_no_secret_stands_on_the_workers_command_line(service: Service) -> None:
    application, exchange = service
    _slow(exchange)
    run = application.supervisor.submit(RunRequest())

    pid = int(_once_running(application, run.run_id).owner.rpartition(":")[2])
    line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    application.supervisor.stop(run.run_id, RunState.CANCELLED, "seen enough")

    assert line[1:3] == [b"-m", b"clm.worker"]
    assert line[3:] == [b""]
