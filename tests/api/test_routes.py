"""The routes of the guide, over a real application, a real exchange and real worker processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from clm.api import clm_routes
from clm.api.app import ask_for_slot, create_app
from clm.bootstrap import Application
from clm.core import plugins
from clm.core.runs import RunKind, RunState
from clm.exchange.server import ExchangeServer
from tests.support.exchange import hold_back, let_go
from tests.support.service import running_service, wait_for_end
from tests.support.versions import candidate

Service = tuple[TestClient, Application, ExchangeServer]
PROBLEM = "application/problem+json"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, symbols=("BTCUSDT", "ETHUSDT")) as (application, exchange):
        with TestClient(create_app(application)) as client:
            yield client, application, exchange


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose first run is over; tests only read."""
    with running_service(tmp_path_factory.mktemp("api")) as (application, exchange):
        with TestClient(create_app(application)) as client:
            run_id = client.post("/api/clm/retrain", json={}).json()["run_id"]
            wait_for_end(application, run_id)
            yield client, application, exchange


class TestBeforeAnyRun:
    def test_status_is_idle(self, service: Service) -> None:
        answer = service[0].get("/api/clm/status")

        assert answer.status_code == 200
        assert {k: answer.json()[k] for k in ("status", "run_id", "progress", "report")} == {
            "status": "idle", "run_id": None, "progress": None, "report": None,
        }  # fmt: skip

    def test_models_are_null_and_triggers_say_never_trained(self, service: Service) -> None:
        client = service[0]

        models, triggers = client.get("/api/clm/models").json(), client.get("/api/clm/triggers").json()

        assert {"xgboost", "lightgbm", "nhits", "patchtst"} <= set(models)
        assert models["xgboost"]["active_version"] is models["xgboost"]["metrics"] is None
        assert set(triggers.values()) == {"Never trained"}
        assert {name: models[name]["untrainable_here"] for name in triggers} == {
            name: plugins.lacking(name) for name in triggers
        }

    def test_history_is_empty(self, service: Service) -> None:
        assert service[0].get("/api/clm/history/nhits").json() == {"model_type": "nhits", "versions": []}


class TestAfterARun:
    def test_status_holds_the_guides_report(self, trained: Service) -> None:
        status = trained[0].get("/api/clm/status").json()

        assert status["status"] == "completed"
        assert {
            "trigger", "triggered_at", "completed_at", "duration_seconds", "models_trained",
            "promoted_models", "evaluations", "shadow_tests", "failed_models",
        } <= set(status["report"])  # fmt: skip
        assert status["report"]["trigger"] == "manual"
        assert status["report"]["triggers"] == {"xgboost": "Never trained", "lightgbm": "Never trained"}
        assert status["report"]["failed_models"] == []
        assert status["report"]["promoted_models"] == ["xgboost", "lightgbm"]
        assert status["report"]["triggered_at"] == "2024-06-01T00:30:00Z"
        assert status["progress"]["done"] == status["progress"]["total"]

    def test_models_name_the_champion_and_its_metrics(self, trained: Service) -> None:
        champion = trained[0].get("/api/clm/models").json()["xgboost"]

        assert champion["active_version"] == "v20240601_003000"
        assert champion["trained_at"] == "2024-06-01T00:30:00Z"
        assert {"rmse", "mae", "directional_accuracy"} <= set(champion["metrics"])

    def test_history_lists_versions_with_what_they_are_made_of(self, trained: Service) -> None:
        (version,) = trained[0].get("/api/clm/history/lightgbm?limit=1").json()["versions"]

        assert (version["version"], version["status"]) == ("v20240601_003000", "ACTIVE")
        assert version["promoted_at"] == "2024-06-01T00:30:00Z"
        assert len(version["artifact_sha256"]) == 64
        assert "model" not in version

    def test_triggers_see_age(self, trained: Service) -> None:
        client, _, exchange = trained
        assert client.get("/api/clm/triggers").json()["xgboost"] is None

        exchange.clock.advance(timedelta(days=8))

        assert client.get("/api/clm/triggers").json()["xgboost"] == "Time-based: Last trained 8 days ago"

    def test_decisions_say_why(self, trained: Service) -> None:
        decisions = trained[0].get("/api/clm/decisions?model=xgboost").json()

        assert [(d["outcome"], d["label"]) for d in decisions] == [("PROMOTE", "first")]
        assert "sanity" in decisions[0]["reason"]

    def test_a_decision_is_decided_again_from_the_stored_rows(self, trained: Service) -> None:
        client = trained[0]
        (decision,) = client.get("/api/clm/decisions?model=xgboost").json()

        again = client.get(f"/api/clm/decisions/{decision['id']}").json()

        assert (again["same"], again["differences"]) == (True, [])
        assert {k: again[k] for k in decision} == decision
        assert again["inputs"]["policy"]["name"] == "evidence"
        missing = client.get("/api/clm/decisions/99999")
        assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)

    def test_shadow_says_who_reigns_and_what_challengers_need(self, trained: Service) -> None:
        entries = trained[0].get("/api/clm/shadow").json()

        assert [(e["symbol"], e["model_type"]) for e in entries] == [
            ("BTCUSDT", "xgboost"), ("BTCUSDT", "lightgbm"),
        ]  # fmt: skip
        assert all(e["champion"]["version"].startswith("v2024") for e in entries)
        assert all(e["challengers"] == [] and e["guard"] is None for e in entries)

    def test_every_attempt_is_kept_with_its_cost(self, trained: Service) -> None:
        (trial,) = trained[0].get("/api/clm/trials?model=lightgbm").json()

        assert (trial["outcome"], trial["trigger"]) == ("promoted", "Never trained")
        assert (trial["status"], trial["fate"]) == ("ACTIVE", "first")
        assert trial["seconds"] > 0

    def test_versions_carry_their_certificate(self, trained: Service) -> None:
        (version,) = trained[0].get("/api/clm/history/xgboost").json()["versions"]

        assert version["certificate"]["problems"] == []
        assert version["certificate"]["canary_r2"] is not None

    def test_runs_can_be_listed_and_looked_up(self, trained: Service) -> None:
        client = trained[0]
        (run,) = client.get("/api/clm/runs").json()

        assert client.get(f"/api/clm/runs/{run['run_id']}").json() == run
        assert run["request"]["requested_by"] == "rest"


class TestRetraining:
    def test_answers_at_once_and_runs_in_the_background(self, service: Service) -> None:
        client, application, exchange = service
        hold_back(exchange)

        answer = client.post("/api/clm/retrain", json={"models": ["lightgbm"], "symbols": ["ETHUSDT"]})
        at_once = application.runs.get(answer.json()["run_id"])
        let_go(exchange)
        run = wait_for_end(application, answer.json()["run_id"])

        assert answer.status_code == 202
        assert answer.json()["status"] == "started"
        assert answer.json()["message"] == "Retraining job started in background"
        assert not at_once.state.over
        assert run.report is not None
        assert list(run.report["by_series"]) == ["ETHUSDT 1h"]
        eth = client.get("/api/clm/models?symbol=ETHUSDT").json()
        assert eth["lightgbm"]["active_version"] is not None
        assert client.get("/api/clm/models").json()["lightgbm"]["active_version"] is None

    def test_while_it_runs_the_api_answers_and_a_second_one_is_refused(self, service: Service) -> None:
        client, application, exchange = service
        hold_back(exchange)
        run_id = client.post("/api/clm/retrain", json={}).json()["run_id"]
        states: list[str] = []
        refused = client.post("/api/clm/retrain", json={})
        cleared = client.delete("/api/clm/clear-cache")

        while len(states) < 11:
            states.append(client.get("/api/clm/status").json()["status"])
        let_go(exchange)
        wait_for_end(application, run_id)

        assert (refused.status_code, refused.headers["content-type"]) == (409, PROBLEM)
        assert refused.json()["run_id"] == cleared.json()["run_id"] == run_id
        assert cleared.status_code == 409
        assert states.count("running") > 10
        assert application.runs.get(run_id).state is RunState.COMPLETED

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"models": ["prophet"]}, "valid model types: lightgbm, "),
            ({"models": []}, "at least 1 item"),
            ({"models": "xgboost"}, "list"),
            ({"symbols": ["DOGEUSDT"]}, "BTCUSDT, ETHUSDT"),
            ({"intervals": ["4h"]}, "1h"),
            ({"symbols": ["../etc"]}, "BTCUSDT, ETHUSDT"),
            ({"force": "perhaps"}, "boolean"),
            ({"forced": True}, "Extra inputs"),
        ],
    )
    def test_a_wrong_request_is_refused_with_what_is_allowed(
        self, service: Service, body: dict[str, Any], said: str
    ) -> None:
        client, application, _ = service

        answer = client.post("/api/clm/retrain", json=body)

        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
        assert said in answer.json()["detail"]
        assert application.runs.latest() is None

    def test_without_a_body_it_is_the_configured_models_that_need_it(self, service: Service) -> None:
        client, application, _ = service

        answer = client.post("/api/clm/retrain")
        run = wait_for_end(application, answer.json()["run_id"])

        assert answer.status_code == 202
        assert run.request.models is run.request.symbols is None
        assert run.request.force is False

    def test_a_body_that_is_no_json_is_refused(self, service: Service) -> None:
        answer = service[0].post(
            "/api/clm/retrain", content=b"{", headers={"content-type": "application/json"}
        )

        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


_SLOT = datetime(2024, 6, 1, 2, tzinfo=UTC)


class TestTheSchedule:
    def test_a_slot_is_run_once_and_the_next_one_waits_while_it_is_under_way(self, service: Service) -> None:
        _, application, exchange = service
        hold_back(exchange)

        first = [ask_for_slot(application, RunKind.RETRAIN, _SLOT) for _ in range(2)]
        following = ask_for_slot(application, RunKind.RETRAIN, _SLOT + timedelta(days=1))
        (run,) = application.runs.recent()
        let_go(exchange)
        ended = wait_for_end(application, run.run_id)

        assert (first, following) == ([True, True], False)
        assert (run.request.requested_by, run.request.slot) == ("schedule", _SLOT)
        assert ended.state is RunState.COMPLETED
        assert ask_for_slot(application, RunKind.RETRAIN, _SLOT + timedelta(days=1))

    def test_the_service_keeps_it_and_a_database_that_is_away_does_not_end_it(self, tmp_path: Path) -> None:
        with running_service(tmp_path, schedule="0 2 * * *") as (application, _):
            with TestClient(create_app(application)) as client:
                assert client.get("/health/live").status_code == 200
                application.registry.database.engine.dispose()
                for left in tmp_path.glob("clm.db*"):  # a journal that is still there would answer for it
                    left.unlink()
                (tmp_path / "clm.db").write_bytes(b"no database any more" * 100)

                assert not ask_for_slot(application, RunKind.RETRAIN, _SLOT)


class TestOtherRequests:
    @pytest.mark.parametrize(
        ("method", "path", "status", "said"),
        [
            ("GET", "/api/clm/history/prophet", 422, "xgboost"),
            ("GET", "/api/clm/history/xgboost?limit=0", 422, "greater than or equal to 1"),
            ("GET", "/api/clm/models?symbol=DOGEUSDT", 422, "BTCUSDT 1h"),
            ("GET", "/api/clm/models?interval=7m", 422, "1m, 3m, 5m"),
            ("GET", "/api/clm/runs/r404", 404, "r404"),
            ("POST", "/api/clm/promote/xgboost/v1999", 404, "v1999"),
            ("POST", "/api/clm/rollback/xgboost", 404, "replaced no version"),
            ("GET", "/api/clm/nothing", 404, "Not Found"),
            ("PUT", "/api/clm/status", 405, "Method Not Allowed"),
        ],
    )
    def test_errors_are_problem_documents(
        self, trained: Service, method: str, path: str, status: int, said: str
    ) -> None:
        answer = trained[0].request(method, path)

        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
        assert answer.json()["status"] == status
        assert said in answer.json()["detail"]

    def test_config_shows_the_settings_and_no_secret(self, trained: Service) -> None:
        config = trained[0].get("/api/clm/config").json()

        assert config["training_lookback_days"] == 90
        assert config["symbols"] == ["BTCUSDT"]

    def test_an_exchange_that_does_not_answer_is_503(self, tmp_path: Path) -> None:
        with running_service(tmp_path) as (application, exchange):
            with TestClient(create_app(application)) as client:
                exchange.exchange.weight_limit = 0
                answer = client.get("/api/clm/triggers")

        assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
        assert "slow down" in answer.json()["detail"] or "banned" in answer.json()["detail"]

    def test_clearing_the_cache_drops_candles_and_a_later_run_fetches_again(self, service: Service) -> None:
        client, application, exchange = service
        wait_for_end(application, client.post("/api/clm/retrain", json={}).json()["run_id"])
        stored = application.settings.data_dir / "BTCUSDT"
        assert stored.exists()

        answer = client.delete("/api/clm/clear-cache")

        assert (answer.status_code, answer.json()["status"]) == (200, "cleared")
        assert list(stored.iterdir()) == []
        before = sum("klines" in seen.path for seen in exchange.requests)
        wait_for_end(application, client.post("/api/clm/retrain", json={"force": True}).json()["run_id"])
        assert sum("klines" in seen.path for seen in exchange.requests) - before >= 4

    def test_promote_and_rollback_by_hand(self, service: Service) -> None:
        client, application, exchange = service
        body = {"models": ["lightgbm"], "symbols": ["BTCUSDT"], "force": True}
        for _ in range(2):
            wait_for_end(application, client.post("/api/clm/retrain", json=body).json()["run_id"])
            exchange.clock.advance(timedelta(days=1))
        newest, oldest = (v["version"] for v in client.get("/api/clm/history/lightgbm").json()["versions"])

        promoted = client.post(f"/api/clm/promote/lightgbm/{newest}").json()
        back = client.post("/api/clm/rollback/lightgbm").json()

        assert (promoted["version"], promoted["status"]) == (newest, "ACTIVE")
        assert (back["version"], back["status"]) == (oldest, "ACTIVE")
        labels = [d["label"] for d in client.get("/api/clm/decisions").json()]
        assert labels[:2] == ["rollback", "manual"]


class TestSwagger:
    def test_every_guide_route_is_documented_with_an_example(self, trained: Service) -> None:
        paths = trained[0].get("/openapi.json").json()["paths"]

        for path, method in {
            "/api/clm/retrain": "post", "/api/clm/status": "get", "/api/clm/models": "get",
            "/api/clm/triggers": "get", "/api/clm/history/{model_type}": "get", "/api/clm/config": "get",
            "/api/clm/clear-cache": "delete",
        }.items():  # fmt: skip
            assert paths[path][method]["description"]
            assert "422" in paths[path][method]["responses"]
        assert "example" in str(paths["/api/clm/models"])
        retrain = paths["/api/clm/retrain"]["post"]
        assert retrain["summary"] == "Start a retraining run in the background"
        conflict = retrain["responses"]["409"]["content"][PROBLEM]
        assert conflict["example"]["run_id"]
        assert conflict["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert "v20241231_000000" in str(paths["/api/clm/history/{model_type}"])

    def test_the_pages_open(self, trained: Service) -> None:
        client = trained[0]

        assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
        page = client.get("/docs").text
        assert "SwaggerUIBundle" in page
        assert re.findall(r"https?://", page) == []
        for file in re.findall(r'(?:src|href)="([^"]+)"', page):
            assert client.get(file).status_code == 200
        assert client.get("/health/live").json() == {"status": "alive"}


class TestInsideAHostApplication:
    def test_the_router_brings_its_own_errors_and_leaves_the_hosts_alone(self, trained: Service) -> None:
        host = FastAPI()
        host.state.clm = trained[1]
        host.include_router(clm_routes.router)

        @host.get("/own/{number}")
        def own(number: int) -> int:
            return number

        with TestClient(host) as client:
            assert client.get("/api/clm/models").json()["xgboost"]["active_version"] == "v20240601_003000"
            problem = client.get("/api/clm/history/prophet")
            assert (problem.status_code, problem.headers["content-type"]) == (422, PROBLEM)
            assert client.get("/own/x").headers["content-type"] == "application/json"

    def test_without_an_application_of_its_own_the_settings_make_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLM_DB_URL", f"sqlite:///{tmp_path}/host.db")
        monkeypatch.setenv("CLM_SYMBOLS", "SOLUSDT")
        clm_routes.default_application.cache_clear()
        host = FastAPI()
        host.include_router(clm_routes.router)

        with TestClient(host) as client:
            assert client.get("/api/clm/config").json()["symbols"] == ["SOLUSDT"]
            assert client.get("/api/clm/status").json()["status"] == "idle"
        assert clm_routes.get_clm_instance().series.symbol == "SOLUSDT"
        clm_routes.default_application().close()
        clm_routes.default_application.cache_clear()


class TestAChallenger:
    def test_is_shown_with_its_evidence_and_promoted_by_hand_under_the_guard(self, service: Service) -> None:
        client, application, exchange = service
        asked = {"models": ["lightgbm"], "symbols": ["BTCUSDT"]}
        first = client.post("/api/clm/retrain", json=asked).json()["run_id"]
        wait_for_end(application, first)
        exchange.clock.advance(timedelta(days=8))
        wait_for_end(application, client.post("/api/clm/retrain", json=asked).json()["run_id"])

        entry = next(e for e in client.get("/api/clm/shadow?symbol=BTCUSDT").json() if e["challengers"])
        (challenger,) = entry["challengers"]
        assert challenger["e_needed"] == pytest.approx(20)
        assert challenger["candles"] >= 8 * 24 - 30
        assert challenger["now"] == "CONTINUE"
        assert "not enough evidence yet: E =" in challenger["reason"]

        answer = client.post(f"/api/clm/promote/lightgbm/{challenger['version']}")

        assert answer.json()["status"] == "ACTIVE"
        assert answer.json()["promoted_at"].startswith("2024-06-09")
        guard = next(e for e in client.get("/api/clm/shadow").json() if e["guard"])["guard"]
        assert guard["version"] == entry["champion"]["version"]
        assert guard["e_needed"] == pytest.approx(10)

    def test_without_certificate_has_to_be_asked_for_twice(self, service: Service) -> None:
        client, application, _ = service
        series = application.series[0]
        saved = application.registry.for_series(series).save_model(candidate())

        refused = client.post(f"/api/clm/promote/sklearn_ridge/{saved.version}")
        allowed = client.post(f"/api/clm/promote/sklearn_ridge/{saved.version}?uncertified=true")

        assert (refused.status_code, refused.json()["type"]) == (409, "urn:clm:error:not-certified")
        assert "no leakage certificate (it has none)" in refused.json()["detail"]
        assert allowed.json()["status"] == "ACTIVE"
