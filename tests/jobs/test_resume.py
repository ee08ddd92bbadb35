"""A run that is taken up again goes on where it was, and tells of all its attempts as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clm.bootstrap import Application
from clm.core.domain import Progress
from clm.core.runs import Run, RunRequest
from clm.core.wire import merged_views
from clm.cycles import CycleOutcome
from tests.support.service import running_service

BOTH = ("xgboost", "lightgbm")


class Died(BaseException):
    """As if the process had ended there."""


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    with running_service(tmp_path) as (application, _):
        yield application


def _dying(at: Callable[[Progress], bool]) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        if at(progress):
            raise Died

    return listen


def _attempt(
    application: Application, run: Run, dies: Callable[[Progress], bool] = lambda progress: False
) -> tuple[Run, CycleOutcome | None]:
    """One worker's attempt at a queued run; a death leaves it queued again."""
    run = application.runs.start(run.run_id, "worker")
    try:
        return run, application.perform(run, _dying(dies))
    except Died:
        application.runs.interrupt(run.run_id, "died")
        return application.runs.requeue(run.run_id), None


def _versions(application: Application) -> dict[str, int]:
    return {m: len(application.registry.get_model_history(m)) for m in BOTH}


def test_a_model_that_was_done_is_not_trained_again_even_when_forced(application: Application) -> None:
    run = application.runs.create(RunRequest(force=True))

    run, _ = _attempt(application, run, lambda p: p.model_type == "lightgbm" and p.step == "holdout")
    assert _versions(application) == {"xgboost": 1, "lightgbm": 0}
    run, outcome = _attempt(application, run)

    assert _versions(application) == {"xgboost": 1, "lightgbm": 1}
    assert outcome is not None
    assert outcome.error is None
    assert outcome.report["models_trained"] == ["xgboost", "lightgbm"]
    assert outcome.report["promoted_models"] == ["xgboost", "lightgbm"]
    assert [d["model_type"] for d in outcome.report["decisions"]] == ["xgboost", "lightgbm"]
    assert set(outcome.report["triggers"]) == set(BOTH)
    assert len(application.registry.get_decisions()) == 2


def test_a_run_that_dies_after_its_last_model_has_nothing_left_to_do(application: Application) -> None:
    run = application.runs.create(RunRequest(force=True))

    run, _ = _attempt(application, run, lambda p: p.step == "done")
    run, outcome = _attempt(application, run)

    assert _versions(application) == {"xgboost": 1, "lightgbm": 1}
    assert outcome is not None
    assert (outcome.error, outcome.report["notes"]) == (None, [])
    assert outcome.report["models_trained"] == ["xgboost", "lightgbm"]


def test_a_model_that_kills_its_worker_twice_is_left_out_and_the_others_get_their_turn(
    application: Application,
) -> None:
    run = application.runs.create(RunRequest())

    for _ in range(2):
        run, _ = _attempt(application, run, lambda p: p.model_type == "xgboost" and p.step == "refit")
    run, outcome = _attempt(application, run)

    assert outcome is not None
    assert outcome.report["models_trained"] == ["lightgbm"]
    assert "2 times when the worker died" in outcome.report["failures"]["xgboost"]
    failed = application.registry.book.trials("xgboost")[0]
    assert (failed.outcome, failed.version) == ("failed", None)


def test_whoever_asked_for_the_run_is_its_trigger_however_many_attempts_it_takes() -> None:
    earlier = {"trigger": "Never trained", "triggers": {"a": "Never trained"}, "notes": []}
    last = {"trigger": "scheduled", "triggers": {"b": None}, "notes": []}

    merged = merged_views([earlier, last])

    assert merged["trigger"] == "scheduled"
    assert merged["triggers"] == {"a": "Never trained", "b": None}


def test_reports_of_attempts_are_merged_as_if_they_had_been_one() -> None:
    first = {
        "trigger": "why", "triggers": {"a": "why"}, "triggered_at": "2024-01-01T00:00:00Z",
        "completed_at": "2024-01-01T00:01:00Z",
        "began_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:01:00Z",
        "duration_seconds": 60.0, "series_seconds": 60.0, "models_trained": ["a"], "failed_models": [],
        "failures": {}, "notes": [],
        "by_series": {"BTCUSDT 1h": {"models_trained": ["a"], "duration_seconds": 60.0}},
    }  # fmt: skip
    second = {
        "trigger": "as well", "triggers": {"a": None, "b": "as well"}, "triggered_at": "2024-01-01T00:05:00Z",
        "completed_at": "2024-01-01T00:06:00Z",
        "began_at": "2026-01-01T00:02:00Z", "ended_at": "2026-01-01T00:02:30.500000Z",
        "duration_seconds": 30.5, "series_seconds": 30.5, "models_trained": ["b"],
        "failed_models": ["c"], "failures": {"c": "cause"}, "notes": ["nothing to do: no trigger fired"],
        "by_series": {
            "BTCUSDT 1h": {"models_trained": ["b"], "duration_seconds": 30.0}, "ETHUSDT 1h": {"error": "x"},
        },
    }  # fmt: skip

    merged = merged_views([first, second])

    assert merged == {
        "trigger": "why; as well", "triggers": {"a": "why", "b": "as well"},
        "triggered_at": "2024-01-01T00:00:00Z", "completed_at": "2024-01-01T00:06:00Z",
        "began_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:02:30.500000Z",
        # The minute between the attempts was waited for too.
        "duration_seconds": 150.5, "series_seconds": 90.5, "models_trained": ["a", "b"],
        "failed_models": ["c"], "failures": {"c": "cause"}, "notes": [],
        "by_series": {
            "BTCUSDT 1h": {"models_trained": ["a", "b"], "duration_seconds": 90.0, "notes": []},
            "ETHUSDT 1h": {"error": "x"},
        },
    }  # fmt: skip
