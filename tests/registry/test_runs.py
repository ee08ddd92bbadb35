"""Runs as rows: one at a time, also between processes; no state is skipped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from clm.core.domain import RunRequest, RunState
from clm.core.errors import IllegalTransition, RunInProgress, RunNotFound
from clm.core.protocols import RunStore
from clm.registry.engine import open_engine
from clm.registry.migrate import ensure_schema
from clm.registry.runs import SQLRunStore

REQUEST = RunRequest(models=("xgboost",), symbols=None, force=True, requested_by="rest")


class Watch:
    """A machine clock set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def store(db_url: str, watch: Watch) -> Iterator[SQLRunStore]:
    engine = open_engine(db_url)
    ensure_schema(engine)
    yield SQLRunStore(engine, watch)
    engine.dispose()


def test_a_run_goes_from_queued_to_running_to_its_end(store: SQLRunStore, watch: Watch) -> None:
    assert isinstance(store, RunStore)
    assert store.latest() is None

    created = store.create(REQUEST)
    assert (created.state, created.request, created.created_at) == (RunState.QUEUED, REQUEST, watch.now)
    started = store.start(created.run_id, "host:1")
    assert (started.state, started.owner) == (RunState.RUNNING, "host:1")
    watch.now += timedelta(seconds=3)
    store.beat(created.run_id, {"done": 1, "total": 12})
    assert store.get(created.run_id).progress == {"done": 1, "total": 12}
    assert store.get(created.run_id).heartbeat_at == watch.now
    ended = store.finish(created.run_id, RunState.COMPLETED, report={"promoted_models": []})

    assert (ended.state, ended.report, ended.finished_at) == (
        RunState.COMPLETED, {"promoted_models": []}, watch.now,
    )  # fmt: skip
    assert store.latest() == ended


def test_a_second_run_is_refused_by_the_name_of_the_first(store: SQLRunStore) -> None:
    first = store.create(REQUEST)

    with pytest.raises(RunInProgress) as refused:
        store.create(REQUEST)
    with pytest.raises(RunInProgress):
        store.refuse_while_running()

    assert refused.value.run_id == first.run_id
    store.finish(first.run_id, RunState.CANCELLED)
    store.refuse_while_running()
    assert store.create(REQUEST).run_id != first.run_id


def test_of_requests_at_the_same_moment_exactly_one_becomes_a_run(store: SQLRunStore) -> None:
    outcomes: list[str] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        try:
            store.create(REQUEST)
            outcomes.append("run")
        except RunInProgress:
            outcomes.append("refused")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused"] * 7 + ["run"]


@pytest.mark.parametrize("end", [RunState.COMPLETED, RunState.FAILED, RunState.INTERRUPTED])
def test_a_run_that_is_over_stays_over(store: SQLRunStore, end: RunState) -> None:
    run_id = store.create(REQUEST).run_id
    store.start(run_id, "me")
    store.finish(run_id, end, error="why")

    for attempt in (
        lambda: store.start(run_id, "other"),
        lambda: store.beat(run_id),
        lambda: store.finish(run_id, RunState.COMPLETED),
    ):
        with pytest.raises(IllegalTransition, match=str(end)):
            attempt()
    assert store.get(run_id).error == "why"


def test_a_run_starts_once(store: SQLRunStore) -> None:
    run_id = store.create(REQUEST).run_id
    store.start(run_id, "one")

    with pytest.raises(IllegalTransition):
        store.start(run_id, "two")

    assert store.get(run_id).owner == "one"


def test_a_run_cannot_end_as_running(store: SQLRunStore) -> None:
    with pytest.raises(IllegalTransition, match="running"):
        store.finish(store.create(REQUEST).run_id, RunState.RUNNING)


def test_a_worker_that_falls_silent_is_marked_and_frees_the_way(store: SQLRunStore, watch: Watch) -> None:
    run_id = store.create(REQUEST).run_id
    store.start(run_id, "me")
    watch.now += timedelta(seconds=59)
    assert store.interrupt_stale(60) == []

    watch.now += timedelta(seconds=2)
    marked = store.interrupt_stale(60)

    assert [(run.run_id, run.state) for run in marked] == [(run_id, RunState.INTERRUPTED)]
    assert store.interrupt_stale(60) == []
    store.create(REQUEST)


def test_a_run_nobody_started_is_marked_too(store: SQLRunStore, watch: Watch) -> None:
    store.create(REQUEST)
    watch.now += timedelta(seconds=61)

    assert len(store.interrupt_stale(60)) == 1


def test_runs_are_listed_newest_first_and_an_unknown_one_is_named(store: SQLRunStore) -> None:
    names = []
    for _ in range(3):
        names.append(store.create(REQUEST).run_id)
        store.finish(names[-1], RunState.CANCELLED)

    assert [run.run_id for run in store.recent(2)] == names[:0:-1]
    with pytest.raises(RunNotFound, match="r404"):
        store.get("r404")
