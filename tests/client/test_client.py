"""The client against a real service: every answer people use, as a record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import exp, nan
from typing import Any

import pandas as pd
import pytest

from clm.client import Client, Conflict, NotFound, Run, StillRunning, WrongInput
from tests.client.conftest import Service
from tests.support.exchange import let_go, put_off
from tests.support.waiting import LIMIT

HOUR = timedelta(hours=1)


@contextmanager
def busy_exchange(service: Service) -> Iterator[None]:
    """Whoever wants candles is put off."""
    put_off(service.exchange)
    try:
        yield
    finally:
        let_go(service.exchange)


@pytest.fixture
def candles(client: Client, service: Service) -> pd.DataFrame:
    """The exchange's own, as many as the features want, up to the one that `predict` forecasts from."""
    source = service.application.data_client(service.application.series[0])
    close = client.predict().candle_close_time
    assert close is not None
    return source.load_training_data(close - 300 * HOUR, close)


@pytest.fixture(scope="module")
def run(service: Service) -> Run:
    """Of XGBoost, followed to its end: there are two versions since."""
    service.exchange.clock.advance(HOUR)
    with Client(service.url, timeout=LIMIT) as client:
        return client.retrain(
            ["xgboost"], symbols=["BTCUSDT"], force=True, wait=True, timeout=LIMIT, poll=0.05
        )


class TestForecasts:
    def test_are_records_with_times_units_and_a_verdict(self, client: Client, service: Service) -> None:
        champion = service.application.registry.get_active("lightgbm")
        assert champion is not None

        found = client.predict("lightgbm", symbol="BTCUSDT", interval="1h")

        assert (found.symbol, found.interval, found.model) == ("BTCUSDT", "1h", "lightgbm")
        assert (found.version, found.artifact_sha256) == (champion.version, champion.artifact_sha256)
        assert found.target_close_time is not None
        assert found.candle_close_time is not None
        assert found.target_close_time - found.candle_close_time == HOUR
        assert found.target_close_time.tzinfo == UTC
        assert found.forecast is not None
        assert found.close is not None
        assert found.implied_price == pytest.approx(found.close * exp(found.forecast))
        assert (found.usable, found.reasons) == (True, [])
        assert found.raw["data_age_seconds"] == found.data_age_seconds

    def test_hold_everything_that_the_service_says(self, client: Client) -> None:
        found = client.predict()

        assert found.model == "ensemble"
        assert set(found.raw) == {name for name in found.__slots__ if name != "raw"}

    def test_of_several_symbols_come_in_their_order_and_say_why_one_is_not_usable(
        self, client: Client
    ) -> None:
        found = client.predict_many(["ETHUSDT", "BTCUSDT"], "xgboost")

        assert [(f.symbol, f.usable, f.reasons) for f in found] == [
            ("ETHUSDT", False, ["no_champion"]), ("BTCUSDT", True, []),
        ]  # fmt: skip
        assert found[0].forecast is None

    @pytest.mark.parametrize("form", ["index", "column", "further columns", "list", "numpy list"])
    def test_from_own_candles_are_the_same_in_whatever_form_they_come(
        self, client: Client, candles: pd.DataFrame, form: str
    ) -> None:
        rows = candles.reset_index()
        forms: dict[str, Any] = {
            "index": candles, "column": rows, "further columns": candles.assign(rsi=nan),
            "list": [{**r, "open_time": r["open_time"].isoformat()} for r in rows.to_dict("records")],
            "numpy list": [dict(zip(rows.columns, row, strict=True)) for row in rows.to_numpy()],
        }  # fmt: skip

        found = client.predict_from(forms[form], "lightgbm")

        assert found.forecast == pytest.approx(client.predict("lightgbm").forecast, rel=1e-12)

    def test_from_too_few_candles_are_refused_with_the_number_that_is_needed(
        self, client: Client, candles: pd.DataFrame
    ) -> None:
        with pytest.raises(WrongInput, match=r"the newest \d+ closed candles, without a gap"):
            client.predict_from(candles.iloc[-20:])

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (lambda c: c.drop(columns="trades"), "candle 0 has no trades"),
            (lambda c: c.assign(high=nan), "candle 0: high is nan"),
            (lambda c: [{}], "has no open_time, open, high"),
        ],
    )
    def test_from_candles_that_are_none_are_refused_before_anything_is_sent(
        self, client: Client, candles: pd.DataFrame, wrong: Any, said: str
    ) -> None:
        with pytest.raises(ValueError, match=said):
            client.predict_from(wrong(candles))

    def test_are_explained(self, client: Client) -> None:
        found = client.explain("xgboost", top=3)

        assert len(found["forecast"]["contributions"]) == 3
        assert client.ensemble()["members"].keys() == {"xgboost", "lightgbm"}


class TestRuns:
    def test_one_is_followed_to_its_end_and_leaves_a_version_and_a_decision(
        self, client: Client, run: Run
    ) -> None:
        assert (run.status, run.completed, run.over, run.error) == ("completed", True, True, None)
        assert run.report is not None
        assert run.report["models_trained"] == ["xgboost"]
        assert run.promoted == run.report["promoted_models"]
        assert run.progress is not None
        assert 0 < run.progress.share <= 1
        assert run.finished_at is not None
        assert run.started_at is not None
        assert timedelta() < run.finished_at - run.started_at < timedelta(seconds=LIMIT)
        assert client.run(run.run_id) == run
        assert run in client.runs()
        assert client.status() == client.runs(1)[0]
        newest, before = client.history("xgboost")
        assert newest.trained_at > before.trained_at
        assert newest.metrics["rmse"] > 0
        decision = next(d for d in client.decisions("xgboost") if d.decided_by == "policy")
        assert decision.candidate_version == newest.version
        again = client.decision(decision.id)
        assert (again.reason, again.recomputed, again.same) == (decision.reason, True, True)
        assert client.trials("xgboost")[0]["version"] == newest.version
        assert {s["model_type"] for s in client.shadow(symbol="BTCUSDT")} == {"xgboost", "lightgbm"}

    def test_one_that_is_under_way_is_named_can_outlast_a_wait_and_be_cancelled(
        self, client: Client, service: Service
    ) -> None:
        with busy_exchange(service):
            run = client.retrain(force=True)
            with pytest.raises(Conflict, match="already in progress") as busy:
                client.retrain()
            with pytest.raises(Conflict):
                client.clear_cache()
            with pytest.raises(StillRunning, match=r"has not ended within 0\.1 seconds") as waited:
                client.wait(run, timeout=0.1, poll=0.05)
            cancelled = client.cancel(run)

        assert (run.status, run.over, run.progress) == ("running", False, None)
        assert busy.value.run_id == run.run_id
        assert waited.value.run is not None
        assert waited.value.run.status == "running"
        assert (cancelled.status, cancelled.error) == ("cancelled", "cancelled over REST")
        assert client.wait(run) == cancelled
        with pytest.raises(Conflict, match="cannot become cancelled"):
            client.cancel(run.run_id)


class TestVersions:
    @pytest.mark.usefixtures("run")
    def test_are_promoted_and_rolled_back_by_hand(self, client: Client) -> None:
        newest, before = client.history("xgboost")

        promoted = client.promote("xgboost", newest.version)
        at_the_top = client.models()["xgboost"]["active_version"]
        back = client.rollback("xgboost")

        assert (promoted.version, promoted.status, at_the_top) == (newest.version, "ACTIVE", newest.version)
        assert back.version == before.version
        assert client.decisions("xgboost", limit=1)[0].decided_by == "user"

    @pytest.mark.usefixtures("run")
    def test_are_set_against_each_other(self, client: Client) -> None:
        b, a = (version.version for version in client.history("xgboost"))

        begun = client.experiments.start("xgboost", (a, b), days=3)
        number = begun["experiment_id"]
        stopped = client.experiments.stop(number)

        assert (begun["state"], stopped["state"]) == ("open", "ended")
        assert client.experiments.recent("xgboost")[0]["experiment_id"] == number
        assert client.experiments.get(number, recompute=True)["recomputed"]["same"] is True

    def test_that_do_not_exist_are_not_found_and_wrong_names_are_told_what_is_allowed(
        self, client: Client
    ) -> None:
        with pytest.raises(NotFound, match="has no version 'v1999'"):
            client.promote("xgboost", "v1999")
        with pytest.raises(WrongInput, match="valid model types: lightgbm") as wrong:
            client.history("prophet")
        with pytest.raises(WrongInput, match="limit"):
            client.history("xgboost", limit=0)

        assert (wrong.value.status, wrong.value.kind) == (422, "urn:clm:error:unknown-model-type")
        assert wrong.value.members["value"] == "prophet"


class TestTheServiceItself:
    def test_is_well_and_tells_its_settings_and_its_trail(self, client: Client) -> None:
        assert client.live() == {"status": "alive"}
        assert client.ready()["checks"]["database"]["ok"] is True
        assert client.config()["symbols"] == ["BTCUSDT", "ETHUSDT"]
        assert client.triggers(symbol="ETHUSDT")["xgboost"] == "Never trained"
        assert client.clear_cache()["status"] == "cleared"
        assert client.audit(1)[0]["action"] == "DELETE /api/clm/clear-cache"
        assert {"rollback", "promoted"} >= {alert["kind"] for alert in client.alerts()}

    def test_that_never_ran_has_no_newest_run(self, strict: Service) -> None:
        with Client(strict.url, "a-key-that-reads-0001\n") as client:
            assert client.status() is None


def test_a_client_shows_where_it_leads_but_no_secret() -> None:
    with Client("http://user:word@127.0.0.1:1/api/clm/", "a-key") as client:
        assert repr(client) == "Client('http://127.0.0.1:1')"


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://[::1", "/api"])
def test_an_address_of_nothing_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Client(url)


def test_a_key_that_no_header_can_carry_is_refused_and_not_told() -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        Client(api_key="gehe\u0131m\nx")

    assert "gehe" not in str(refused.value)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_change_the_path_is_none(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        client.run(name)


def test_a_run_is_a_plain_value() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)

    assert Run(run_id="r1", status="running", created_at=moment) == Run(
        run_id="r1", status="running", created_at=moment, raw={"run_id": "r1"}
    )
