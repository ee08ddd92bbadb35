"""A run tells of each of its models, and keeps what it said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clm.api.app import create_app
from clm.core.domain import Series
from clm.core.runs import Run, RunRequest, RunState
from clm.core.turns import turns
from tests.support.exchange import hold_back, let_go
from tests.support.service import caller, running_service, wait_for_end
from tests.support.versions import BTC
from tests.support.waiting import eventually

WANTED = [(BTC, ("lightgbm", "xgboost"))]


def test_each_model_of_a_run_says_what_came_of_it_and_its_lines_stay(tmp_path: Path) -> None:
    never = {"lightgbm": {"num_trees": 5, "min_data_in_leaf": 100, "lambda_l1": 10**6}}
    with running_service(tmp_path, training_params=never) as (application, exchange):
        client = caller(create_app(application))
        hold_back(exchange)
        body = {"force": True, "params": {"xgboost": {"num_trees": 5, "min_data_in_leaf": 100}}}
        run_id = client.post("/api/clm/retrain", json=body).json()["run_id"]

        def fetching() -> bool:
            turns = client.get(f"/api/clm/runs/{run_id}/models").json()["models"]
            return "fetching" in {turn["state"] for turn in turns}

        eventually(fetching, "a model that waits for its candles")
        let_go(exchange)
        wait_for_end(application, run_id)

        found = client.get(f"/api/clm/runs/{run_id}/models").json()

        assert {turn["model_type"]: turn["state"] for turn in found["models"]} == {
            "xgboost": "promoted",
            "lightgbm": "failed",
        }
        failed = next(turn for turn in found["models"] if turn["state"] == "failed")
        assert failed["said"]
        assert found["log"][0]["message"].startswith("reading BTCUSDT 1h candles")
        assert "log" not in client.get("/api/clm/status").json()["progress"]


@pytest.mark.parametrize(
    ("state", "progress", "journal", "expected"),
    [
        (RunState.QUEUED, {}, {}, ["queued", "queued"]),
        (RunState.RUNNING, {"step": "features"}, {}, ["fetching", "fetching"]),
        (RunState.RUNNING, {"step": "holdout", "model_type": "lightgbm"}, {"lightgbm": 1},
         ["evaluating", "queued"]),
        (RunState.RUNNING, {"step": "series", "model_type": None}, {"xgboost": 1}, ["queued", "training"]),
        (RunState.COMPLETED, {}, {}, ["not due", "not due"]),
        (RunState.CANCELLED, {}, {"lightgbm": 1}, ["broken off", "not reached"]),
    ],
)  # fmt: skip
def test_what_a_model_is_at_is_read_off_the_run_and_its_journal(
    state: RunState, progress: dict[str, object], journal: dict[str, int], expected: list[str]
) -> None:
    at = {"model_type": None, "series": {"symbol": BTC.symbol, "interval": BTC.interval}, **progress}
    run = Run(
        run_id="r1", state=state, request=RunRequest(), created_at=datetime(2024, 1, 1, tzinfo=UTC),
        progress=at if progress else {},
    )  # fmt: skip
    begun = {f"{BTC} {model}": {"begun": times} for model, times in journal.items()}

    assert [turn["state"] for turn in turns(run, begun, WANTED)] == expected


@pytest.mark.parametrize(
    ("attempt", "step", "model_type", "expected"),
    [
        (1, "candles", None, ["fetching", "fetching"]),
        (1, "holdout", "lightgbm", ["evaluating", "queued"]),
        # What an attempt that died was at, nobody is at any more.
        (0, "holdout", "lightgbm", ["queued", "queued"]),
    ],
)
def test_a_series_done_in_another_process_says_where_it_is(
    attempt: int, step: str, model_type: str | None, expected: list[str]
) -> None:
    run = Run(
        run_id="r1", state=RunState.RUNNING, request=RunRequest(), attempt=1,
        created_at=datetime(2024, 1, 1, tzinfo=UTC), progress={"step": "series", "series": None},
    )  # fmt: skip
    at = {"step": step, "message": "so far", "model_type": model_type, "attempt": attempt}

    found = turns(run, {str(BTC): at}, WANTED)

    assert [turn["state"] for turn in found] == expected
    assert {turn["said"] for turn in found if turn["state"] != "queued"} <= {"so far"}


def test_a_series_that_failed_as_a_whole_fails_each_of_its_models() -> None:
    run = Run(
        run_id="r1", state=RunState.FAILED, request=RunRequest(), created_at=datetime(2024, 1, 1, tzinfo=UTC),
        report={"by_series": {str(Series("BTCUSDT", "1h")): {"error": "no candles"}}},
    )  # fmt: skip

    assert [(turn["state"], turn["said"]) for turn in turns(run, {}, WANTED)] == [
        ("failed", "no candles")
    ] * 2
