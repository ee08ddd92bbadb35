"""Series come and go while the service runs; each has models, settings and evidence of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.domain import Series
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from tests.support.service import running_service, wait_for_end
from tests.support.shell import shell_in
from tests.support.waiting import eventually

Service = tuple[TestClient, Application, ExchangeServer]
HOUR = timedelta(hours=1)
ETHER = Series("ETHUSDT", "1h")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """BTCUSDT is in the settings; the exchange trades ETHUSDT as well."""
    with running_service(tmp_path) as (application, exchange):
        with TestClient(create_app(application)) as client:
            yield client, application, exchange


def _until(found: Callable[[], Any], true: Callable[[Any], bool]) -> Any:
    """The first that is found of which that is true."""

    def fitting() -> Any:
        return seen if true(seen := found()) else None

    return eventually(fitting, lambda: f"another than {found()}", pause=0.05)


class TestASeriesThatIsAdded:
    def test_is_trained_watched_and_forecast_by_the_service_that_runs(self, service: Service) -> None:
        client, application, exchange = service
        assert client.get("/api/clm/predict?symbol=ETHUSDT").status_code == 422

        added = client.post("/api/clm/series", json={"symbol": "ETHUSDT"})

        assert (added.status_code, added.json()["note"]) == (201, None)
        assert added.json()["champions"] == {"xgboost": None, "lightgbm": None}
        started = client.post("/api/clm/retrain", json={"symbols": ["ETHUSDT"]}).json()
        report = wait_for_end(application, started["run_id"]).report
        assert report is not None
        assert list(report["by_series"]) == ["ETHUSDT 1h"]
        answer = _until(
            lambda: client.get("/api/clm/predict?symbol=ETHUSDT&model=lightgbm").json(),
            lambda answer: answer["version"] is not None,
        )
        (listed,) = [s for s in client.get("/api/clm/series").json() if s["symbol"] == "ETHUSDT"]
        assert listed["champions"]["lightgbm"] == answer["version"]
        exchange.clock.advance(HOUR)
        shadow = application.live_shadow()
        assert shadow.tick().errors == {}
        book = application.registry.for_series(ETHER).book
        assert book.forecasts("lightgbm", answer["version"])[-1].source is Source.LIVE

    def test_is_known_to_every_replica_within_a_moment(self, service: Service, tmp_path: Path) -> None:
        client, application, _ = service
        with Application(application.settings, interactive=True) as other:
            assert other.series == (Series("BTCUSDT", "1h"),)
            client.post("/api/clm/series", json={"symbol": "ETHUSDT"})

            assert _until(lambda: other.series, lambda every: ETHER in every)

    def test_has_settings_and_models_of_its_own(self, service: Service) -> None:
        client, application, _ = service
        few = {"lightgbm": {"num_trees": 3, "min_data_in_leaf": 100}}
        own = {"training_lookback_days": 75, "training_params": few, "cool_down_hours": 3}
        asked = {"symbol": "ETHUSDT", "models": ["lightgbm"], "overrides": own}

        assert client.post("/api/clm/series", json=asked).json()["overrides"] == own
        assert application.run(RunRequest()).error is None

        models = {
            s.symbol: application.registry.for_series(s).get_model_history("lightgbm")[0]
            for s in application.series
        }
        assert application.registry.for_series(ETHER).get_model_history("xgboost") == []
        assert models["ETHUSDT"].params["num_boost_round"] == 3
        assert models["BTCUSDT"].params["num_boost_round"] == 5
        lengths = {symbol: m.train_end - m.train_start for symbol, m in models.items()}
        assert lengths["BTCUSDT"] - lengths["ETHUSDT"] == timedelta(days=15)
        assert models["ETHUSDT"].recipe_id != models["BTCUSDT"].recipe_id
        assert application.manager(ETHER).policy.cool_down_hours == 3
        assert client.get("/health/ready").json()["checks"]["champions"]["reason"] == "3 champions load"

    def test_says_how_many_candles_its_history_lacks(self, service: Service) -> None:
        client, application, _ = service
        asked = {"symbol": "ETHUSDT", "overrides": {"shadow_test_hours": 9240, "training_lookback_days": 800}}

        note = client.post("/api/clm/series", json=asked).json()["note"]

        assert "more candles" in note
        report = application.run(RunRequest(symbols=("ETHUSDT",))).report
        assert note in report["by_series"]["ETHUSDT 1h"]["error"]

    def test_is_changed_by_adding_it_again_and_answers_all_the_while(self, service: Service) -> None:
        client, application, _ = service
        assert application.run(RunRequest(models=("lightgbm",))).error is None
        _until(
            lambda: client.get("/api/clm/predict?model=lightgbm").json(),
            lambda answer: answer["version"] is not None,
        )
        asked = {"symbol": "BTCUSDT", "models": ["lightgbm"], "overrides": {"stale_model_days": 5}}

        again = client.post("/api/clm/series", json=asked)

        assert (again.status_code, again.json()["origin"]) == (200, "settings")

        def changed() -> bool:
            assert client.get("/api/clm/predict?model=lightgbm").json()["version"] is not None
            return client.get("/api/clm/predict?model=xgboost").status_code == 422

        eventually(changed, "an answer by the new settings")
        for _ in range(20):
            assert changed()
        assert client.get("/api/clm/predict").json()["model"] == "lightgbm"

    @pytest.mark.parametrize(
        ("asked", "names"),
        [
            ({"symbol": "DOGEUSDT"}, ("symbol", "DOGEUSDT", "lists")),
            ({"symbol": "doge"}, ("symbol", "doge", "BTCUSDT")),
            ({"symbol": "ETHUSDT", "interval": "2m"}, ("interval", "2m", "1h")),
            ({"symbol": "ETHUSDT", "interval": "1m"}, ("interval", "1m", "offers")),
            ({"symbol": "ETHUSDT", "models": ["prophet"]}, ("model_type", "prophet", "lightgbm")),
            (
                {"symbol": "ETHUSDT", "overrides": {"port": 1}},
                ("overrides.port", "1", "training_preset"),
            ),
            (
                {"symbol": "ETHUSDT", "overrides": {"training_preset": "quick"}},
                ("overrides.training_preset", "quick", "regularised"),
            ),
        ],
    )
    def test_is_refused_by_name_value_and_what_is_allowed(
        self, service: Service, asked: dict[str, Any], names: tuple[str, ...]
    ) -> None:
        client, application, _ = service

        answer = client.post("/api/clm/series", json=asked)

        assert answer.status_code == 422, answer.text
        assert all(name in answer.json()["detail"] for name in names), answer.json()
        assert application.series == (Series("BTCUSDT", "1h"),)

    def test_is_not_added_while_nobody_can_say_whether_it_is_traded(self, service: Service) -> None:
        client, application, exchange = service
        exchange.__exit__(None, None, None)

        answer = client.post("/api/clm/series", json={"symbol": "ETHUSDT"})

        assert answer.status_code == 503
        assert application.watchlist.look() == (Series("BTCUSDT", "1h"),)


class TestASeriesThatIsTakenOff:
    def test_is_asked_for_in_vain_until_it_is_added_again_and_all_of_it_is_still_there(
        self, service: Service
    ) -> None:
        client, application, _ = service
        client.post("/api/clm/series", json={"symbol": "ETHUSDT"})
        assert application.run(RunRequest(models=("lightgbm",))).error is None
        before = client.get("/api/clm/history/lightgbm?symbol=ETHUSDT").json()

        gone = client.delete("/api/clm/series?symbol=ETHUSDT")

        assert (gone.status_code, gone.json()["watched"]) == (200, False)
        for route in ("models", "triggers", "shadow", "decisions", "history/lightgbm"):
            refused = client.get(f"/api/clm/{route}?symbol=ETHUSDT")
            assert (refused.status_code, "BTCUSDT 1h" in refused.json()["detail"]) == (422, True)
        assert _until(
            lambda: client.get("/api/clm/predict?symbol=ETHUSDT").status_code, lambda code: code == 422
        )
        assert list(application.run(RunRequest(force=True)).report["by_series"]) == ["BTCUSDT 1h"]
        assert [s["symbol"] for s in client.get("/api/clm/series").json()] == ["BTCUSDT"]
        assert [s["watched"] for s in client.get("/api/clm/series?all=true").json()] == [True, False]

        client.post("/api/clm/series", json={"symbol": "ETHUSDT"})
        assert client.get("/api/clm/history/lightgbm?symbol=ETHUSDT").json() == before

    def test_may_be_one_of_the_settings_and_then_another_is_the_default(self, service: Service) -> None:
        client, application, _ = service
        client.post("/api/clm/series", json={"symbol": "ETHUSDT"})

        assert client.delete("/api/clm/series?symbol=BTCUSDT").status_code == 200

        assert application.find_series() == ETHER
        with Application(application.settings) as later:
            assert later.series == (ETHER,)

    def test_is_never_the_last(self, service: Service) -> None:
        client, _, _ = service

        answer = client.delete("/api/clm/series?symbol=BTCUSDT")

        assert (answer.status_code, answer.json()["type"]) == (409, "urn:clm:error:last-series")


class TestSeveralIntervals:
    def test_of_one_symbol_are_kept_alive_side_by_side_and_their_evidence_apart(
        self, service: Service
    ) -> None:
        client, application, exchange = service
        own = {"training_lookback_days": 300, "holdout_days": 60}
        added = client.post("/api/clm/series", json={"symbol": "BTCUSDT", "interval": "4h", "overrides": own})
        assert added.status_code == 201, added.text
        _, fours = application.series

        report = application.run(RunRequest()).report

        assert list(report["by_series"]) == ["BTCUSDT 1h", "BTCUSDT 4h"]
        assert report["failed_models"] == []
        assert application.pool_of(fours) == (fours,)
        only = application.run(RunRequest(intervals=("4h",), force=True)).report
        assert list(only["by_series"]) == ["BTCUSDT 4h"]
        forecasts = [
            client.get(f"/api/clm/predict?interval={interval}&model=lightgbm").json()
            for interval in ("1h", "4h")
        ]
        ahead = [f["target_close_time"][11:16] for f in forecasts]
        assert ahead == ["01:00", "04:00"]

        shadow, book = application.live_shadow(), application.registry.for_series(fours).book
        version = application.registry.for_series(fours).get_active("lightgbm")
        assert version is not None
        made = []
        for _ in range(5):
            exchange.clock.advance(HOUR)
            assert shadow.tick().errors == {}
            made.append(len(book.forecasts("lightgbm", version.version)))
        # The clock stood at 00:30: of five hours the fourth closes a candle of four hours.
        assert [b - a for a, b in pairwise(made)] == [0, 0, 1, 0]

    def test_that_nobody_watches_are_refused(self, service: Service) -> None:
        client, _, _ = service

        answer = client.post("/api/clm/retrain", json={"intervals": ["4h"]})

        assert (answer.status_code, "1h" in answer.json()["detail"]) == (422, True)


def test_the_command_line_adds_lists_and_removes(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        run = shell_in(tmp_path, exchange)

        added = run("series", "add", "ETHUSDT", "--models", "lightgbm", "--set", "holdout_days=20", "--json")
        listed = run("series", "list", "--json")
        removed = run("series", "remove", "ETHUSDT")
        table = run("series", "list", "--all")
        wrong = run("series", "add", "ETHUSDT", "--set", "holdout")

        assert json.loads(added.stdout)["overrides"] == {"holdout_days": 20}
        assert [(s["symbol"], s["models"]) for s in json.loads(listed.stdout)] == [
            ("BTCUSDT", ["xgboost", "lightgbm"]), ("ETHUSDT", ["lightgbm"]),
        ]  # fmt: skip
        assert json.loads(listed.stdout)[1]["changed_by"].startswith("cli:")
        assert removed.stdout.strip() == "ETHUSDT 1h is no longer watched; what is stored stays"
        assert "taken off" in table.stdout
        assert (wrong.returncode, "NAME=VALUE" in wrong.stderr) == (2, True)
        assert [row.deed.action for row in application.audit.recent(3)][:2] == [
            "clm series remove", "clm series add",
        ]  # fmt: skip
