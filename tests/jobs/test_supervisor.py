"""A run is a process of its own, and its row never lies about what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from clm.bootstrap import Application
from clm.core.errors import IllegalTransition, LeaseLost, RunInProgress, StorageFailed
from clm.core.runs import Run, RunRequest, RunState
from clm.exchange.server import ExchangeServer
from clm.jobs.guard import owner
from clm.jobs.supervisor import RunSupervisor
from clm.registry.database import Database
from clm.registry.runs import SQLRunStore
from clm.settings import Settings
from tests.support.databases import database_of
from tests.support.exchange import let_go, put_off
from tests.support.quick import REAL
from tests.support.service import running_service, wait_for_end
from tests.support.versions import candidate
from tests.support.waiting import eventually

Service = tuple[Application, ExchangeServer]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as running:
        yield running


def _once_running(application: Application, run_id: str) -> Run:
    """The run as soon as its worker has said so."""

    def running() -> Run | None:
        run = application.runs.get(run_id)
        return run if run.state is RunState.RUNNING else None

    return eventually(running, lambda: f"a run that runs: {application.runs.get(run_id)}")


def _of_fresh_interpreters(application: Application) -> RunSupervisor:
    """Its workers are no forks: as a service's are."""
    settings = application.settings.for_children()
    return RunSupervisor(application.runs, settings, worker=(REAL, "-m", "clm.worker"))


def test_a_run_completes_in_a_child_and_leaves_its_report(service: Service) -> None:
    application, _ = service
    supervisor = _of_fresh_interpreters(application)

    run = supervisor.submit(RunRequest(requested_by="rest"))
    ended = wait_for_end(application, run.run_id)

    assert (ended.state, ended.error) == (RunState.COMPLETED, None)
    assert ended.report is not None
    assert ended.report["promoted_models"] == ["xgboost", "lightgbm"]
    assert ended.owner.rpartition(":")[2] != str(os.getpid())
    assert ended.progress["done"] == ended.progress["total"] == 14


def test_a_worker_gives_way_to_the_service_where_the_kernel_weighs_processes_and_where_it_weighs_sessions(
    tmp_path: Path,
) -> None:
    default = Settings.model_fields["worker_niceness"].default
    with running_service(tmp_path, worker_niceness=default) as (application, exchange):
        put_off(exchange)

        run = application.supervisor.submit(RunRequest(requested_by="rest"))
        worker = psutil.Process(int(_once_running(application, run.run_id).owner.rpartition(":")[2]))

        _assert_nice(worker)


def _assert_nice(worker: psutil.Process) -> None:
    assert worker.nice() == psutil.Process().nice() + 10
    group = Path(f"/proc/{worker.pid}/autogroup")
    if group.exists():
        assert group.read_text().endswith(" nice 10\n")


def test_a_second_run_is_refused_while_one_is_under_way(service: Service) -> None:
    application, exchange = service
    put_off(exchange)
    first = application.supervisor.submit(RunRequest())

    with pytest.raises(RunInProgress) as refused:
        application.supervisor.submit(RunRequest())

    assert refused.value.run_id == first.run_id
    application.supervisor.cancel(first.run_id, "enough")
    assert application.runs.get(first.run_id).state is RunState.CANCELLED


def _kill_worker(application: Application, run_id: str, attempt: int) -> None:
    """SIGKILL to the worker of that attempt, as soon as it has begun."""

    def begun() -> Run | None:
        run = application.runs.get(run_id)
        return run if run.state is RunState.RUNNING and run.attempt == attempt else None

    run = eventually(begun, lambda: f"attempt {attempt} of {application.runs.get(run_id)}")
    os.kill(int(run.owner.rpartition(":")[2]), signal.SIGKILL)


def test_a_worker_that_is_killed_is_followed_by_another_and_the_interruption_stays_on_record(
    service: Service,
) -> None:
    application, exchange = service
    put_off(exchange)
    run = application.supervisor.submit(RunRequest(force=True))

    _kill_worker(application, run.run_id, 1)
    let_go(exchange)
    ended = wait_for_end(application, run.run_id)

    assert (ended.state, ended.attempt, ended.error) == (RunState.COMPLETED, 2, None)
    assert [i["reason"] for i in ended.interruptions] == [
        "the worker was killed by SIGKILL before it could report"
    ]
    assert ended.report is not None
    assert ended.report["attempt"] == 2
    assert ended.report["peak_memory_mb"] > 50


def test_a_run_whose_workers_die_again_and_again_is_given_up_and_leaves_champions_as_they_were(
    service: Service,
) -> None:
    application, exchange = service
    wait_for_end(application, application.supervisor.submit(RunRequest()).run_id)
    before = application.manager().get_model_status_summary()
    put_off(exchange)
    run = application.supervisor.submit(RunRequest(force=True))

    for attempt in (1, 2, 3):
        _kill_worker(application, run.run_id, attempt)
    ended = wait_for_end(application, run.run_id)

    assert (ended.state, ended.attempt) == (RunState.INTERRUPTED, 3)
    assert len(ended.interruptions) == 3
    assert application.manager().get_model_status_summary() == before
    assert [f for f in application.registry.verify() if f.severity == "error"] == []
    let_go(exchange)
    again = application.supervisor.submit(RunRequest(force=True))
    assert wait_for_end(application, again.run_id).state is RunState.COMPLETED


def test_a_run_whose_workers_die_before_they_begin_is_given_up_too(service: Service) -> None:
    application, _ = service
    suicidal = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    supervisor = RunSupervisor(application.runs, application.settings.for_children(), suicidal)

    run = supervisor.submit(RunRequest(force=True))
    ended = wait_for_end(application, run.run_id)

    assert (ended.state, ended.attempt) == (RunState.INTERRUPTED, 0)
    assert [i["reason"] for i in ended.interruptions] == [
        "the worker was killed by SIGKILL before it could report"
    ] * 3


_FROZEN = """
import json, os, signal, sys
import sqlalchemy as sa
from clm.jobs.guard import owner
from clm.registry.database import Database
from clm.registry.runs import SQLRunStore
order = json.load(sys.stdin)
database = Database(order["settings"]["db_url"])
SQLRunStore(database).start(order["run_id"], owner())
with database.writing(fenced=False) as connection:
    half = sa.text("UPDATE clm_runs SET error = 'half' WHERE run_id = :run")
    connection.execute(half, {"run": order["run_id"]})
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.rehearse
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_that_froze_in_the_middle_of_a_change_is_ended_and_its_run_taken_from_it(
    kind: str, tmp_path: Path
) -> None:
    with database_of(kind, tmp_path) as url, closing(Database(url)) as database:
        runs = SQLRunStore(database)
        frozen = (REAL, "-c", _FROZEN)
        settings = json.dumps({"db_url": url})
        supervisor = RunSupervisor(runs, settings, frozen, stale_after_seconds=1)
        run = supervisor.submit(RunRequest())
        child = psutil.Process(supervisor._children[run.run_id].pid)
        eventually(lambda: child.status() == psutil.STATUS_STOPPED, "a frozen worker")

        def over() -> bool:
            supervisor.tidy()
            return runs.get(run.run_id).state.over

        began = time.monotonic()
        eventually(over, "its end", pause=0.2)

        assert runs.get(run.run_id).state is RunState.INTERRUPTED
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        # It is not waited for until a lock's own time is up.
        assert time.monotonic() - began < 25
        supervisor.close()


def test_a_worker_of_this_machine_that_is_gone_is_noticed_at_the_next_look(service: Service) -> None:
    application, _ = service
    gone = subprocess.Popen(["true"])
    gone.wait()
    here = owner().rpartition(":")[0]
    left = application.runs.start(application.runs.create(RunRequest()).run_id, f"{here}:{gone.pid}")

    application.supervisor.recover()
    ended = wait_for_end(application, left.run_id)

    assert (ended.state, ended.attempt) == (RunState.COMPLETED, 2)
    assert [i["reason"] for i in ended.interruptions] == ["its worker is gone"]


def test_of_a_worker_elsewhere_only_its_silence_is_known(service: Service) -> None:
    application, _ = service
    other = application.runs.start(application.runs.create(RunRequest()).run_id, "elsewhere/12345678-1:1")

    application.supervisor.recover()

    assert application.runs.get(other.run_id).state is RunState.RUNNING


def test_a_run_that_is_cancelled_ends_its_worker_and_takes_its_right_to_write(service: Service) -> None:
    application, exchange = service
    put_off(exchange)
    run = _once_running(application, application.supervisor.submit(RunRequest()).run_id)

    ended = application.supervisor.cancel(run.run_id, "changed my mind")

    assert (ended.state, ended.error) == (RunState.CANCELLED, "changed my mind")
    with pytest.raises(ProcessLookupError):
        os.kill(int(run.owner.rpartition(":")[2]), 0)
    with application.registry.database.under(run.fence), pytest.raises(LeaseLost):
        application.registry.save_model(candidate())
    with pytest.raises(IllegalTransition, match="cancelled"):
        application.supervisor.cancel(run.run_id, "again")


def test_what_another_machine_left_behind_is_taken_up_at_the_next_look(service: Service) -> None:
    application, _ = service
    left = application.runs.create(RunRequest(requested_by="schedule"))
    application.runs.start(left.run_id, "gone:1")
    application.runs.interrupt(left.run_id, "its worker fell silent")

    application.supervisor.recover()
    ended = wait_for_end(application, left.run_id)

    assert (ended.state, ended.attempt) == (RunState.COMPLETED, 2)
    application.supervisor.recover()
    assert application.runs.get(left.run_id).attempt == 2


def test_closing_the_service_ends_its_children_and_says_so(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        put_off(exchange)
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
    put_off(exchange)
    supervisor = _of_fresh_interpreters(application)
    run = supervisor.submit(RunRequest())

    pid = int(_once_running(application, run.run_id).owner.rpartition(":")[2])
    line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    supervisor.cancel(run.run_id, "seen enough")

    assert line[1:3] == [b"-m", b"clm.worker"]
    assert line[3:] == [b""]


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"run_time_limit_minutes": 0.02}, "longer than the limit of 1 s"),
        ({"run_memory_limit_mb": 60}, "MB, more than the limit of 60 MB"),
    ],
)
def test_a_worker_beyond_its_limit_is_ended_and_the_run_says_which(
    limit: dict[str, float], said: str, tmp_path: Path
) -> None:
    with running_service(tmp_path, **limit) as (application, exchange):
        put_off(exchange)
        ended = wait_for_end(application, application.supervisor.submit(RunRequest()).run_id)

        assert ended.state is RunState.FAILED
        assert said in str(ended.error)
        assert ended.attempt == 1
