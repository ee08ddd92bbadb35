"""Who gets in where: every route × every role, in the service and inside a host application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from clm.api import clm_routes
from clm.api.app import create_app
from clm.api.route import ProblemRoute
from clm.bootstrap import Application
from clm.core.access import Role
from tests.support.service import caller, running_service

PROBLEM = "application/problem+json"
CONFIGURED = "a-key-from-the-settings"

#: What each route needs; None: nothing. A new route is entered here, or the first test below fails.
NEEDS: dict[str, str | None] = {
    "GET /health/live": None,
    "GET /health/ready": None,
    "GET /api/clm/status": "read",
    "GET /api/clm/models": "read",
    "GET /api/clm/triggers": "read",
    "GET /api/clm/history/{model_type}": "read",
    "GET /api/clm/config": "read",
    "GET /api/clm/runs": "read",
    "GET /api/clm/runs/{run_id}": "read",
    "GET /api/clm/runs/{run_id}/events": "read",
    "GET /api/clm/runs/{run_id}/models": "read",
    "GET /api/clm/reigns/{model_type}": "read",
    "GET /api/clm/compare/{model_type}": "read",
    "POST /api/clm/reproduce/{model_type}/{version}": "operate",
    "GET /api/clm/decisions": "read",
    "GET /api/clm/decisions/{decision_id}": "read",
    "GET /api/clm/shadow": "read",
    "GET /api/clm/shadow/{model_type}/evidence": "read",
    "GET /api/clm/shadow/{model_type}/forecasts": "read",
    "GET /api/clm/skill": "read",
    "GET /api/clm/clock": "read",
    "GET /api/clm/pulse": "read",
    "GET /api/clm/trials": "read",
    "GET /api/clm/series": "read",
    "POST /api/clm/series": "operate",
    "DELETE /api/clm/series": "operate",
    "GET /api/clm/explain/{model_type}": "read",
    "GET /api/clm/data": "read",
    "GET /api/clm/drift/{model_type}": "read",
    "GET /api/clm/replays": "read",
    "GET /api/clm/replays/{name}": "read",
    "GET /api/clm/alerts": "read",
    "GET /api/clm/experiments": "read",
    "GET /api/clm/experiments/{experiment_id}": "read",
    "POST /api/clm/experiments": "operate",
    "POST /api/clm/experiments/{experiment_id}/stop": "operate",
    "GET /api/clm/predict": "read",
    "POST /api/clm/predict": "read",
    "GET /api/clm/ensemble": "read",
    "POST /api/clm/retrain": "operate",
    "POST /api/clm/runs/{run_id}/cancel": "operate",
    "POST /api/clm/rollback/{model_type}": "operate",
    "DELETE /api/clm/clear-cache": "operate",
    "POST /api/clm/promote/{model_type}/{version}": "admin",
    "GET /api/clm/audit": "admin",
}
#: Pages and files, which no schema lists.
PAGES = (
    "/", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/static-offline-docs/swagger-ui.css",
    "/no/such/page", "/metrics",
)  # fmt: skip
SAMPLES = {
    "model_type": "xgboost",
    "version": "v1",
    "run_id": "r1",
    "decision_id": "1",
    "experiment_id": "x1",
    "name": "r1",
}
#: Refused for what it says, so that nobody who may start a run does.
BODY: dict[str, list[str]] = {"models": []}


class Doors:
    """A service with a key of every role, and a host application that has mounted its routes."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.service = create_app(application)
        self.host = FastAPI()
        self.host.state.clm = application
        self.host.include_router(clm_routes.router)
        self.keys: dict[str, str | None] = {"stranger": None}
        for role in Role:
            self.keys[role] = application.keys.add(f"the-{role}", role)[1]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("doors")
    with running_service(folder, rate_limit_per_minute=0, api_key=f"read:{CONFIGURED}") as (application, _):
        yield Doors(application)


def _asked(app: FastAPI, route: str, key: str | None) -> Any:
    method, _, path = route.partition(" ")
    body = BODY if method == "POST" else None
    return caller(app, key).request(method, path.format(**SAMPLES), json=body)


def _expected(needed: str | None, who: str) -> int | None:
    """The refusal; None: let through."""
    if needed is None or (who != "stranger" and Role(who).covers(Role(needed))):
        return None
    return 401 if who == "stranger" else 403


class TestEveryRoute:
    def test_is_in_the_table_with_the_role_it_says_it_needs(self, doors: Doors) -> None:
        said = {
            f"{method.upper()} {path}": operation.get("x-clm-role")
            for path, operations in doors.service.openapi()["paths"].items()
            for method, operation in operations.items()
        }

        assert said == NEEDS

    @pytest.mark.parametrize("who", ["stranger", *Role])
    @pytest.mark.parametrize("route", NEEDS)
    def test_lets_through_whose_role_covers_it_and_nobody_else(
        self, doors: Doors, route: str, who: str
    ) -> None:
        needed, key = NEEDS[route], doors.keys[who]
        apps = [doors.service, doors.host] if "/api/clm/" in route else [doors.service]

        answers = [_asked(app, route, key) for app in apps]

        for answer in answers:
            if _expected(needed, who) is None:
                assert answer.status_code not in (401, 403)
                continue
            assert (answer.status_code, answer.headers["content-type"]) == (_expected(needed, who), PROBLEM)
            assert answer.json()["role_needed"] == needed
            assert f"the role {needed}" in answer.json()["detail"]
            assert ("www-authenticate" in answer.headers) == (who == "stranger")

    @pytest.mark.parametrize("path", PAGES)
    def test_of_no_schema_needs_a_key_too(self, doors: Doors, path: str) -> None:
        strange, known = caller(doors.service), caller(doors.service, doors.keys["read"])

        assert strange.get(path).status_code == 401
        assert strange.post(path).status_code == 401
        assert known.get(path).status_code in (200, 307, 404)

    def test_that_names_no_role_and_changes_something_is_for_admins(self, doors: Doors) -> None:
        forgetful = APIRouter(prefix="/api/clm", route_class=ProblemRoute)

        @forgetful.post("/forgotten")
        def forgotten() -> str:
            return "done"

        host = FastAPI()
        host.state.clm = doors.application
        host.include_router(forgetful)

        found = {
            who: caller(host, key).post("/api/clm/forgotten").status_code for who, key in doors.keys.items()
        }
        assert found == {"stranger": 401, "read": 403, "operate": 403, "admin": 200}

    def test_asks_who_before_it_reads_what(self, doors: Doors) -> None:
        for app in (doors.service, doors.host):
            answer = caller(app, doors.keys["read"], content_type="application/json").post(
                "/api/clm/retrain", content=b"{"
            )

            assert answer.status_code == 403

    def test_of_a_host_under_a_prefix_of_its_own_asks_for_the_same(self, doors: Doors) -> None:
        host = FastAPI()
        host.state.clm = doors.application
        host.include_router(clm_routes.router, prefix="/models")

        assert caller(host).get("/models/api/clm/status").status_code == 401
        assert caller(host, doors.keys["operate"]).get("/models/api/clm/audit").status_code == 403
        assert caller(host, doors.keys["read"]).get("/models/api/clm/status").status_code == 200


class TestKeys:
    def test_are_shown_in_either_header_or_come_from_the_settings(self, doors: Doors) -> None:
        key = doors.keys["read"]

        for headers in (
            {"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer  {key} "},
            {"X-API-Key": CONFIGURED}, {"X-API-Key": key, "Authorization": "Bearer of-the-hosts-own"},
        ):  # fmt: skip
            assert caller(doors.service).get("/api/clm/status", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-API-Key": ""}, {"X-API-Key": "clm_wrong"}, {"X-API-Key": "ü" * 20},
            {"Authorization": "Bearer"}, {"Authorization": f"Basic {CONFIGURED}"},
            {"Authorization": f"Bearer wrong-{CONFIGURED}"}, {"Cookie": f"clm_session={CONFIGURED}"},
        ],
    )  # fmt: skip
    def test_that_are_none_let_nobody_in(self, doors: Doors, headers: dict[str, str]) -> None:
        raw = {name: value.encode() for name, value in headers.items()}

        answer = caller(doors.service).get("/api/clm/status", headers=raw)

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="clm"')

    def test_that_are_revoked_stop_at_once(self, doors: Doors) -> None:
        _, key = doors.application.keys.add("passing", Role.READ)
        client = caller(doors.service, key)
        before = client.get("/api/clm/status").status_code

        doors.application.keys.revoke("passing")

        assert (before, client.get("/api/clm/status").status_code) == (200, 401)

    def test_of_the_settings_show_their_roles_alone(self, doors: Doors) -> None:
        config = caller(doors.service, CONFIGURED).get("/api/clm/config").json()

        assert config["api_key"] == ["read:***"]

    def test_that_the_last_one_was_revoked_opens_nothing(self, tmp_path: Any) -> None:
        with running_service(tmp_path) as (application, _):
            app = create_app(application)
            assert caller(app).get("/api/clm/status").status_code == 200
            application.keys.add("desk", Role.ADMIN)
            application.keys.revoke("desk")

            assert caller(app).get("/api/clm/status").status_code == 401


class TestWithoutAnyKey:
    @pytest.fixture
    def app(self, tmp_path: Any) -> Iterator[FastAPI]:
        with running_service(tmp_path) as (application, _):
            yield create_app(application)

    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST.:80"])
    @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.8.8.8", "::ffff:127.0.0.1"])
    def test_whoever_is_on_this_machine_may_do_everything(
        self, app: FastAPI, host: str, address: str
    ) -> None:
        client = caller(app, address=address, host=host)

        assert client.get("/api/clm/audit").status_code == 200
        assert client.delete("/api/clm/clear-cache").status_code == 200
        assert client.get("/api/clm/audit").json()[0]["actor"] == "local"

    @pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "0.0.0.0", ""])
    def test_nobody_else_is_let_in_and_is_told_what_to_do(self, app: FastAPI, address: str) -> None:
        answer = caller(app, address=address).get("/api/clm/status")

        assert answer.status_code == 401
        assert "clm keys add" in answer.json()["detail"]

    def test_nobody_whose_request_came_through_a_proxy(self, app: FastAPI) -> None:
        for name in ("x_forwarded_for", "forwarded", "x_real_ip", "x_forwarded_host"):
            assert caller(app, **{name: "192.0.2.7"}).get("/api/clm/status").status_code == 401

    def test_nobody_with_any_sign_of_a_proxy(self, app: FastAPI) -> None:
        client = caller(app)
        signs = (
            "Via", "Client-IP", "X-Client-IP", "CF-Connecting-IP", "CF-Ray", "True-Client-IP", "X-Forwarded",
            "X-Forwarded-Proto", "X-Forwarded-Port", "X-Original-Forwarded-For", "X-Envoy-External-Address",
            "X-Amzn-Trace-Id", "Fastly-Client-IP", "Tailscale-User-Login", "X-Azure-ClientIP", "CDN-Loop",
        )  # fmt: skip
        answers = {sign: client.get("/api/clm/status", headers={sign: "192.0.2.7"}) for sign in signs}

        assert {sign: answer.status_code for sign, answer in answers.items()} == dict.fromkeys(signs, 401)
        assert all("clm keys add" in answer.json()["detail"] for answer in answers.values())
        assert client.get("/api/clm/status").status_code == 200

    def test_nor_anybody_once_a_key_is_required(self, tmp_path: Any) -> None:
        with running_service(tmp_path, require_key=True) as (application, _):
            service = create_app(application)
            refused = caller(service).get("/api/clm/status")
            key = application.keys.add("desk", Role.READ)[1]

            assert refused.status_code == 401
            assert "nobody is let in" in refused.json()["detail"]
            assert caller(service).get("/api/clm/status").status_code == 401
            assert caller(service, key).get("/api/clm/status").status_code == 200
            assert caller(service).get("/health/live").status_code == 200

    def test_a_service_for_all_addresses_lets_in_nobody(self, tmp_path: Any) -> None:
        with running_service(tmp_path, host="0.0.0.0") as (application, _):
            assert caller(create_app(application)).get("/api/clm/status").status_code == 401

    def test_a_host_application_lets_in_its_own_machine_by_its_own_name(self, app: FastAPI) -> None:
        host = FastAPI()
        host.state.clm = app.state.clm
        host.include_router(clm_routes.router)

        assert caller(host).get("/api/clm/status").status_code == 200
        assert caller(host, address="192.0.2.7").get("/api/clm/status").status_code == 401
        assert caller(host, host="evil.example").get("/api/clm/status").status_code == 401

    def test_of_a_hosts_environment_its_keys_hold(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLM_DB_URL", f"sqlite:///{tmp_path}/host.db")
        monkeypatch.setenv("CLM_API_KEY", CONFIGURED)
        clm_routes.default_application.cache_clear()
        host = FastAPI()
        host.include_router(clm_routes.router)
        try:
            assert caller(host).get("/api/clm/status").status_code == 401
            assert caller(host).post("/api/clm/retrain").status_code == 401
            assert caller(host, CONFIGURED).get("/api/clm/audit").json()[0]["result"] == "401"
        finally:
            clm_routes.default_application().close()
            clm_routes.default_application.cache_clear()
