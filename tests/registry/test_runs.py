"""Runs as rows: one at a time, also between processes; no state is skipped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clm.core.errors import IllegalTransition, LeaseLost, RunInProgress, RunNotFound, SlotTaken
from clm.core.runs import RunKind, RunRequest, RunState
from clm.core.stores import RunStore
from clm.registry.database import Database
from clm.registry.runs import SQLRunStore

REQUEST = RunRequest(models=("xgboost",), symbols=None, force=True, requested_by="rest")
SLOT = RunRequest(slot=datetime(2024, 6, 1, 2, tzinfo=UTC), requested_by="schedule")


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
    database = Database(db_url)
    yield SQLRunStore(database, watch)
    database.close()


def test_a_report_stored_by_an_older_clm_is_read_as_one_of_today(store: SQLRunStore, watch: Watch) -> None:
    run = store.start(store.create(SLOT).run_id, "host:1")
    watch.now += timedelta(seconds=7)
    old = {
        "trigger": {"xgboost": "Never trained"},
        "failed_models": {"nhits": "why"},
        "duration_seconds": 9.0,
    }

    ended = store.finish(run.run_id, RunState.COMPLETED, report=old)

    assert ended.report is not None
    assert ended == store.latest() == store.recent(1)[0]
    assert (ended.report["trigger"], ended.report["failed_models"]) == ("scheduled", ["nhits"])
    assert (ended.report["duration_seconds"], ended.report["series_seconds"]) == (7.0, 9.0)


def test_a_run_goes_from_queued_to_running_to_its_end(store: SQLRunStore, watch: Watch) -> None:
    assert isinstance(store, RunStore)
    assert store.latest() is None

    created = store.create(REQUEST)
    assert (created.state, created.request, created.created_at) == (RunState.QUEUED, REQUEST, watch.now)
    started = store.start(created.run_id, "host:1")
    assert (started.state, started.owner, started.attempt) == (RunState.RUNNING, "host:1", 1)
    watch.now += timedelta(seconds=3)
    store.beat(started.fence, {"done": 1, "total": 12})
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


@pytest.mark.parametrize("end", [RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED])
def test_a_run_that_is_over_stays_over(store: SQLRunStore, end: RunState) -> None:
    run = store.start(store.create(REQUEST).run_id, "me")
    store.finish(run.run_id, end, error="why")

    for attempt in (
        lambda: store.start(run.run_id, "other"),
        lambda: store.beat(run.fence),
        lambda: store.note(run.fence, "step", {}),
        lambda: store.finish(run.run_id, RunState.COMPLETED),
        lambda: store.finish(run.run_id, RunState.COMPLETED, fence=run.fence),
        lambda: store.interrupt(run.run_id, "late"),
    ):
        with pytest.raises((IllegalTransition, LeaseLost), match=str(end)):
            attempt()
    assert store.get(run.run_id).error == "why"


def test_a_run_starts_once(store: SQLRunStore) -> None:
    run_id = store.create(REQUEST).run_id
    store.start(run_id, "one")

    with pytest.raises(IllegalTransition):
        store.start(run_id, "two")

    assert store.get(run_id).owner == "one"


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.QUEUED, RunState.INTERRUPTED])
def test_a_run_cannot_end_as_what_is_no_end(store: SQLRunStore, state: RunState) -> None:
    with pytest.raises(IllegalTransition, match=str(state)):
        store.finish(store.create(REQUEST).run_id, state)


class TestAnInterruptedRun:
    def test_is_queued_again_and_keeps_what_became_of_its_attempts_and_its_journal(
        self, store: SQLRunStore, watch: Watch
    ) -> None:
        first = store.start(store.create(REQUEST).run_id, "host:1")
        store.note(first.fence, "BTCUSDT 1h xgboost", {"begun": 1})
        store.note(first.fence, "BTCUSDT 1h lightgbm", {"begun": 1, "report": {}})

        interrupted = store.interrupt(first.run_id, "killed")
        store.requeue(first.run_id)
        second = store.start(first.run_id, "host:2")

        assert (interrupted.state, interrupted.error) == (RunState.INTERRUPTED, "killed")
        assert (second.state, second.attempt, second.error) == (RunState.RUNNING, 2, None)
        assert [(i["attempt"], i["owner"], i["reason"]) for i in second.interruptions] == [
            (1, "host:1", "killed")
        ]
        assert store.journal(first.run_id) == {
            "BTCUSDT 1h xgboost": {"begun": 1}, "BTCUSDT 1h lightgbm": {"begun": 1, "report": {}},
        }  # fmt: skip

    def test_has_no_room_for_the_worker_that_was_given_up(self, store: SQLRunStore) -> None:
        first = store.start(store.create(REQUEST).run_id, "zombie")
        store.interrupt(first.run_id, "silent")
        store.requeue(first.run_id)
        second = store.start(first.run_id, "heir")

        for late in (
            lambda: store.beat(first.fence, {"done": 5}),
            lambda: store.note(first.fence, "entry", {}),
            lambda: store.finish(first.run_id, RunState.COMPLETED, fence=first.fence),
        ):
            with pytest.raises(LeaseLost, match="attempt 1 is over"):
                late()
        store.beat(second.fence)
        assert store.get(first.run_id).progress == {}

    def test_waits_while_another_run_is_under_way(self, store: SQLRunStore) -> None:
        run = store.start(store.create(REQUEST).run_id, "one")
        store.interrupt(run.run_id, "killed")
        other = store.create(REQUEST)

        with pytest.raises(RunInProgress) as refused:
            store.requeue(run.run_id)

        assert refused.value.run_id == other.run_id


class TestASlot:
    def test_is_run_once_however_many_ask(self, store: SQLRunStore) -> None:
        run = store.create(SLOT)
        with pytest.raises(SlotTaken):
            store.create(SLOT)
        store.finish(run.run_id, RunState.COMPLETED)

        with pytest.raises(SlotTaken, match="2024-06-01 02:00"):
            store.create(SLOT)

        assert store.newest_slot(RunKind.RETRAIN) == SLOT.slot
        assert store.newest_slot(RunKind.SHADOW) is None
        assert store.get(run.run_id).request == SLOT

    def test_waits_for_a_run_that_was_asked_for_by_hand(self, store: SQLRunStore) -> None:
        by_hand = store.create(REQUEST)

        with pytest.raises(RunInProgress):
            store.create(SLOT)
        store.finish(by_hand.run_id, RunState.COMPLETED)

        assert store.create(SLOT).request.slot == SLOT.slot

    def test_of_another_kind_is_another(self, store: SQLRunStore) -> None:
        store.create(SLOT)

        assert store.create(replace(SLOT, kind=RunKind.SHADOW)).request.kind is RunKind.SHADOW

    def test_is_claimed_by_one_and_taken_over_when_that_one_falls_silent_or_fails(
        self, store: SQLRunStore, watch: Watch
    ) -> None:
        tick = replace(SLOT, kind=RunKind.SHADOW)
        first = store.claim(tick, "one", 60)
        with pytest.raises(RunInProgress):
            store.claim(tick, "two", 60)
        watch.now += timedelta(seconds=61)

        second = store.claim(tick, "two", 60)
        store.finish(second.run_id, RunState.FAILED, error="exchange down", fence=second.fence)
        third = store.claim(tick, "three", 60)
        store.finish(third.run_id, RunState.COMPLETED, fence=third.fence)

        assert first.run_id == second.run_id == third.run_id
        assert [first.attempt, second.attempt, third.attempt] == [1, 2, 3]
        with pytest.raises(SlotTaken):
            store.claim(tick, "four", 60)

    def test_claimed_by_many_at_the_same_moment_is_done_by_one(self, store: SQLRunStore) -> None:
        tick = replace(SLOT, kind=RunKind.SHADOW)
        outcomes: list[str] = []
        gate = threading.Barrier(8)

        def claim() -> None:
            gate.wait()
            try:
                store.claim(tick, "me", 60)
                outcomes.append("mine")
            except (RunInProgress, SlotTaken):
                outcomes.append("theirs")

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(outcomes) == ["mine"] + ["theirs"] * 7


def test_old_runs_of_one_kind_are_forgotten_and_no_others(store: SQLRunStore) -> None:
    mine = store.create(REQUEST)
    for hour in range(5):
        assert SLOT.slot is not None
        tick = replace(SLOT, kind=RunKind.SHADOW, slot=SLOT.slot + timedelta(hours=hour))
        store.finish(store.claim(tick, "me", 60).run_id, RunState.COMPLETED)

    assert store.forget(RunKind.SHADOW, 2) == 3
    assert store.forget(RunKind.SHADOW, 2) == 0

    assert [run.request.slot for run in store.recent(10, RunKind.SHADOW)] == [
        datetime(2024, 6, 1, 6, tzinfo=UTC), datetime(2024, 6, 1, 5, tzinfo=UTC),
    ]  # fmt: skip
    assert store.latest() == mine


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
