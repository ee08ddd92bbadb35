"""Who has lost a run writes nothing more: no model, no promotion, no bet, whatever it knew before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clm.core.domain import Decision, Outcome, VersionStatus
from clm.core.errors import LeaseLost
from clm.core.runs import Run, RunRequest, RunState
from clm.registry.experiments import SQLExperiments
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from tests.support.bets import KEY, RIDGE, forecast, rows
from tests.support.experiments import experiment
from tests.support.versions import T0, candidate

SAID = Decision(
    model_type=RIDGE, candidate_version="v20240501_000000", champion_version=None, outcome=Outcome.CONTINUE,
    label="evidence", policy="evidence", reason="too early",
)  # fmt: skip


def _prepare(registry: SQLModelRegistry) -> None:
    registry.save_model(candidate())
    SQLExperiments(registry.database).create(experiment("x1", model_type="other"))


def _running(registry: SQLModelRegistry) -> tuple[SQLRunStore, Run]:
    runs = SQLRunStore(registry.database)
    return runs, runs.start(runs.create(RunRequest()).run_id, "worker")


WRITES: dict[str, Callable[[SQLModelRegistry], object]] = {
    "save": lambda registry: registry.save_model(candidate(1)),
    "promote": lambda registry: registry.promote(RIDGE, "v20240501_000000"),
    "retire": lambda registry: registry.retire(RIDGE, "v20240501_000000"),
    "record_decision": lambda registry: registry.record_decision(SAID, VersionStatus.SHADOW),
    "record_forecasts": lambda registry: registry.book.record_forecasts([forecast(0)]),
    "append_evidence": lambda registry: registry.book.append_evidence(KEY, rows(1), None),
    "create an experiment": lambda registry: SQLExperiments(registry.database).create(experiment("x2")),
    "end an experiment": lambda registry: SQLExperiments(registry.database).end("x1", T0, {}),
}


@pytest.mark.parametrize("name", WRITES)
def test_while_the_run_is_its_own_it_writes(registry: SQLModelRegistry, name: str) -> None:
    _prepare(registry)
    _, run = _running(registry)

    with registry.database.under(run.fence):
        WRITES[name](registry)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("how", ["interrupted", "cancelled", "taken over"])
def test_once_the_run_is_lost_nothing_is_written(registry: SQLModelRegistry, name: str, how: str) -> None:
    _prepare(registry)
    runs, run = _running(registry)
    if how == "cancelled":
        runs.finish(run.run_id, RunState.CANCELLED)
    else:
        runs.interrupt(run.run_id, "silent")
    if how == "taken over":
        runs.requeue(run.run_id)
        runs.start(run.run_id, "heir")
    before = _everything(registry)

    with registry.database.under(run.fence), pytest.raises(LeaseLost, match="nothing was written"):
        WRITES[name](registry)

    assert _everything(registry) == before


def test_a_rollback_by_a_zombie_is_refused_too(registry: SQLModelRegistry) -> None:
    registry.promote(RIDGE, registry.save_model(candidate()).version)
    champion = registry.promote(RIDGE, registry.save_model(candidate(1)).version)
    runs, run = _running(registry)
    runs.interrupt(run.run_id, "silent")

    with registry.database.under(run.fence), pytest.raises(LeaseLost):
        registry.rollback(RIDGE)

    active = registry.get_active(RIDGE)
    assert active is not None
    assert active.version == champion.version


def test_outside_the_fence_everybody_writes(registry: SQLModelRegistry) -> None:
    runs, run = _running(registry)
    runs.interrupt(run.run_id, "silent")
    with registry.database.under(run.fence), pytest.raises(LeaseLost):
        registry.save_model(candidate())

    assert registry.save_model(candidate()).status is VersionStatus.CANDIDATE


def _everything(registry: SQLModelRegistry) -> tuple[object, ...]:
    return (
        registry.get_model_history(RIDGE), registry.get_decisions(),
        registry.book.forecasts(RIDGE, "v1"), registry.book.evidence(KEY),
        registry.upkeep.orphans(), SQLExperiments(registry.database).recent(),
    )  # fmt: skip
