"""Settings that cannot work are refused by the command or the service that reads them, not by a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.exchange import serving, simulated
from tests.support.service import caller, running_service
from tests.support.shell import Shell, shell_in

WRONG = {
    "CLM_TRAINING_LOOKBACK_DAYS": ("10", "at least 12.3: 220 candles of 1h to train on"),
    "CLM_HOLDOUT_DAYS": ("0.5", "at least 1.25, 30 candles of 1h to judge on"),
    "CLM_PURGE_HOURS": ("0.2", "at least the label's, 1"),
    "CLM_SHADOW_TEST_HOURS": ("0.5", "at least 1, one candle of 1h"),
    "CLM_TRAINING_PARAMS": ('{"lightgbm": {"max_dept": 3}}', "lightgbm parameter: 'max_dept'"),
    "CLM_TRAINING_PRESET": ("magic", "'regularised', 'fast' or 'accurate'"),
}  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with serving(simulated()) as exchange:
        yield shell_in(tmp_path, exchange)


@pytest.mark.parametrize("command", ["retrain", "serve"])
@pytest.mark.parametrize("name", WRONG)
def test_a_command_that_would_train_is_refused_and_leaves_no_run(
    shell: Shell, name: str, command: str
) -> None:
    value, said = WRONG[name]

    done = shell(command, **{name: value})

    assert done.returncode == 2, done.stderr
    assert name in done.stderr
    assert said in " ".join(done.stderr.split())
    told = shell("status", "--json")
    # Where it was refused as the settings were read, there is not even a database that a run could be in.
    assert "no database at" in told.stderr or json.loads(told.stdout)["run_id"] is None


def test_over_rest_parameters_and_overrides_are(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, _):
        from clm.api.app import create_app

        client = caller(create_app(application))

        wrong = client.post("/api/clm/retrain", json={"params": {"lightgbm": {"max_dept": 3}}})
        added = client.post(
            "/api/clm/series", json={"symbol": "ETHUSDT", "overrides": {"training_lookback_days": 9}}
        )
        named = client.post(
            "/api/clm/series",
            json={"symbol": "ETHUSDT", "overrides": {"training_params": {"xgboost": {"depth": 3}}}},
        )

        assert [answer.status_code for answer in (wrong, added, named)] == [422, 422, 422]
        assert "max_dept" in wrong.json()["detail"]
        assert "training_lookback_days: 9.0" in added.json()["detail"]
        assert "depth" in named.json()["detail"]
        assert application.runs.latest() is None
        assert [series.symbol for series in application.series] == ["BTCUSDT"]
