"""A worker's guard gives signs of life, and ends the process whose run is lost or breaks a limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.core.runs import RunRequest, RunState
from clm.jobs.guard import LOST, OVER_LIMIT, Limits, WorkerGuard
from clm.registry.database import Database
from clm.registry.runs import SQLRunStore
from tests.support.databases import sqlite_in
from tests.support.waiting import LIMIT, eventually


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLRunStore]:
    database = Database(sqlite_in(tmp_path))
    yield SQLRunStore(database)
    database.close()


def _until(codes: list[int]) -> list[int]:
    return eventually(lambda: codes, "the end of the process")


def test_it_beats_as_long_as_the_work_goes_on(store: SQLRunStore) -> None:
    run = store.start(store.create(RunRequest()).run_id, "me")

    with WorkerGuard(store, run.fence, beat_seconds=0.05):
        eventually(lambda: store.get(run.run_id).heartbeat_at != run.heartbeat_at, "a sign of life")
    after = store.get(run.run_id)
    time.sleep(0.2)

    assert run.heartbeat_at is not None
    assert after.heartbeat_at is not None
    assert after.heartbeat_at > run.heartbeat_at
    assert store.get(run.run_id).heartbeat_at == after.heartbeat_at


def test_a_worker_whose_run_was_given_to_another_is_ended(store: SQLRunStore) -> None:
    run = store.start(store.create(RunRequest()).run_id, "zombie")
    codes: list[int] = []

    with WorkerGuard(store, run.fence, beat_seconds=0.05, leave=codes.append):
        store.interrupt(run.run_id, "silent")
        store.requeue(run.run_id)
        store.start(run.run_id, "heir")
        assert _until(codes) == [LOST]

    assert store.get(run.run_id).state is RunState.RUNNING


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(seconds=0.2), "longer than the limit of 0 s"),
        (Limits(megabytes=1), "MB, more than the limit of 1 MB"),
    ],
)
def test_a_worker_beyond_its_limit_is_ended_and_its_run_says_why(
    store: SQLRunStore, limits: Limits, said: str
) -> None:
    run = store.start(store.create(RunRequest()).run_id, "me")
    codes: list[int] = []

    with WorkerGuard(store, run.fence, limits, leave=codes.append):
        assert _until(codes) == [OVER_LIMIT]

    ended = store.get(run.run_id)
    assert ended.state is RunState.FAILED
    assert said in str(ended.error)


def test_within_its_limits_it_is_left_alone(store: SQLRunStore) -> None:
    run = store.start(store.create(RunRequest()).run_id, "me")
    codes: list[int] = []

    with WorkerGuard(store, run.fence, Limits(LIMIT, 1e6), beat_seconds=0.05, leave=codes.append) as guard:
        eventually(lambda: guard.peak_megabytes, "a look at the memory")
        time.sleep(0.3)

    assert codes == []
    assert guard.peak_megabytes > 10


def test_of_a_run_that_was_over_at_once_the_memory_is_told_too(store: SQLRunStore) -> None:
    run = store.start(store.create(RunRequest()).run_id, "me")

    with WorkerGuard(store, run.fence, beat_seconds=LIMIT) as guard:
        pass

    assert guard.peak_megabytes > 10
