"""A run's report: the guide's keys and kinds, whoever asked for the run and whenever it was stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clm.core.domain import Series
from clm.core.reports import Spent, joined, report_of
from clm.core.runs import Run, RunKind, RunRequest, RunState
from clm.core.triggers import FORCED, of_run
from clm.core.wire import report_of_today, report_view

BTC = Series("BTCUSDT", "1h")
ETH = Series("ETHUSDT", "1h")
NOW = datetime(2024, 6, 1, tzinfo=UTC)
WALL = datetime(2026, 11, 1, 12, tzinfo=UTC)
KINDS: dict[str, type] = {
    "trigger": str, "triggers": dict, "triggered_at": str, "completed_at": str, "began_at": str,
    "ended_at": str, "duration_seconds": float, "series_seconds": float, "models_trained": list,
    "promoted_models": list, "evaluations": list, "shadow_tests": list, "failed_models": list,
    "failures": dict, "decisions": list, "notes": list, "by_series": dict,
}  # fmt: skip
#: As reports were stored before: see `report_of_today`.
STORED: dict[str, Any] = {
    "trigger": {"xgboost": "Never trained", "nhits": None}, "triggered_at": "2024-06-01T00:00:00Z",
    "completed_at": "2024-06-01T00:01:30Z", "duration_seconds": 90.0, "models_trained": ["xgboost"],
    "promoted_models": ["xgboost"], "evaluations": [], "shadow_tests": [], "decisions": [],
    "failed_models": {"nhits": "ETHUSDT 1h: too few"}, "notes": [], "attempt": 1,
    "by_series": {
        "BTCUSDT 1h": {
            "trigger": {"xgboost": "Never trained"}, "failed_models": {}, "duration_seconds": 50.0,
            "models_trained": ["xgboost"],
        },
        "ETHUSDT 1h": {"error": "too few"},
    },
}  # fmt: skip


def _run(asked: str = "schedule", *, force: bool = False, report: dict[str, Any] | None = None) -> Run:
    return Run(
        run_id="r1", state=RunState.COMPLETED, request=RunRequest(requested_by=asked, force=force),
        created_at=WALL, started_at=WALL, finished_at=WALL + timedelta(seconds=48), report=report,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "force", "said"),
    [
        ("rest", False, "manual"), ("cli", False, "manual"), ("search", False, "manual"),
        ("rest", True, "manual"), ("python", True, "manual"), ("schedule", False, "scheduled"),
        ("python", False, None),
    ],
)  # fmt: skip
def test_who_asked_for_it_is_the_trigger_and_a_host_that_forces_nothing_is_told_the_sentence(
    asked: str, force: bool, said: str | None
) -> None:
    assert of_run(asked, force) == said


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ({"a": "Never trained", "b": "Never trained", "c": None}, "Never trained"),
        ({"a": "Never trained", "b": "Time-based: Last trained 8 days ago"},
         "Never trained; Time-based: Last trained 8 days ago"),
        ({"a": "Never trained", "b": FORCED}, "manual"),
        ({"a": None}, "no trigger fired"),
        ({}, "no trigger fired"),
    ],
)  # fmt: skip
def test_a_cycle_is_told_by_the_sentences_that_fired(reasons: dict[str, str | None], said: str) -> None:
    report = joined(BTC, [], reasons, Spent(NOW, WALL, 2.0))

    assert (report.trigger, report.triggers) == (said, reasons)


def test_the_guides_kinds_and_what_stands_beside_them() -> None:
    failed = report_of(BTC, "Never trained", Spent(NOW, WALL, 3.0), "nhits", "too few")

    view = report_view([failed], {ETH: "no candles"}, {ETH: ("nhits", "xgboost")}, "scheduled", WALL, 4.5)

    assert {name: type(value) for name, value in view.items()} == KINDS
    assert view["failed_models"] == ["nhits", "xgboost"]
    assert view["failures"] == {
        "nhits": "BTCUSDT 1h: too few; ETHUSDT 1h: no candles", "xgboost": "ETHUSDT 1h: no candles",
    }  # fmt: skip
    assert (view["trigger"], view["triggers"]) == ("scheduled", {"nhits": "Never trained"})


def test_series_done_side_by_side_are_waited_for_once_and_their_sum_has_its_own_name() -> None:
    first = report_of(BTC, "x", Spent(NOW, WALL, 40.0), "lightgbm", "y")
    second = report_of(ETH, "x", Spent(NOW, WALL + timedelta(seconds=1), 44.0), "lightgbm", "y")

    view = report_view([first, second], {}, {})

    assert (view["duration_seconds"], view["series_seconds"]) == (45.0, 84.0)
    assert (view["began_at"], view["ended_at"]) == ("2026-11-01T12:00:00Z", "2026-11-01T12:00:45Z")
    assert view["triggered_at"] == "2024-06-01T00:00:00Z"


def test_a_run_in_which_no_series_came_to_a_report_took_time_too() -> None:
    view = report_view([], {BTC: "no candles"}, {BTC: ("xgboost",)}, None, WALL, 2.5)

    assert (view["began_at"], view["duration_seconds"]) == ("2026-11-01T12:00:00Z", 2.5)
    assert view["triggered_at"] is None


def test_a_report_that_was_stored_before_is_told_as_one_of_today() -> None:
    told = report_of_today(STORED, _run())

    assert {name: type(told[name]) for name in KINDS} == KINDS
    assert told["trigger"] == "scheduled"
    assert told["triggers"] == {"xgboost": "Never trained", "nhits": None}
    assert told["failed_models"] == ["nhits"]
    assert told["failures"] == {"nhits": "ETHUSDT 1h: too few"}
    assert (told["duration_seconds"], told["series_seconds"]) == (48.0, 90.0)
    assert (told["began_at"], told["ended_at"]) == ("2026-11-01T12:00:00Z", "2026-11-01T12:00:48Z")
    assert told["by_series"]["ETHUSDT 1h"] == {"error": "too few"}
    own = told["by_series"]["BTCUSDT 1h"]
    assert (own["trigger"], own["failed_models"], own["failures"]) == ("Never trained", [], {})
    assert told["attempt"] == 1


def test_one_of_today_is_left_as_it_is() -> None:
    told = report_of_today(STORED, _run())

    assert report_of_today(told, _run("rest")) == told


def test_a_host_that_forced_nothing_is_told_the_sentence_of_before() -> None:
    assert report_of_today(STORED, _run("python"))["trigger"] == "Never trained"


def test_other_kinds_of_runs_have_reports_of_their_own() -> None:
    assert RunRequest().kind is RunKind.RETRAIN
    assert report_of_today({"scored": 3}, _run()) == {"scored": 3}
