"""What keeps others' web pages, floods and mistakes away, and what every answer carries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.errors import BadInput
from tests.api.conftest import ApplicationOf
from tests.support.service import caller, running_service, settings_for

PROBLEM = "application/problem+json"
CLEAR = "/api/clm/clear-cache"
Service = tuple[FastAPI, Application]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, rate_limit_per_minute=5, max_body_kb=2) as (application, _):
        yield create_app(application), application


class TestTheName:
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1",
         "127.0.0.1@evil.example", "127.0.0.1:8000:80", "", "[::1", "0.0.0.0", "testserver"],
    )  # fmt: skip
    def test_of_somebody_else_is_refused(self, service: Service, host: str) -> None:
        """DNS rebinding: a page's own name that was pointed at this machine."""
        client = caller(service[0])

        for method, path in (("GET", "/api/clm/status"), ("DELETE", CLEAR), ("GET", "/login"), ("GET", "/")):
            answer = client.request(method, path, headers={"host": host})

            assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
            assert "CLM_ALLOWED_HOSTS" in answer.json()["detail"]

    def test_is_loopback_the_configured_one_or_one_that_was_listed(
        self, service: Service, application_of: ApplicationOf
    ) -> None:
        settings = service[1].settings.model_copy(
            update={"host": "10.0.0.5", "allowed_hosts": ("clm.example", "2001:db8::5")}
        )
        application = application_of(settings)
        _, key = application.keys.add("desk", Role.READ)
        app = create_app(application)

        found = {
            host: caller(app, key, host=host, address="10.0.0.9").get("/api/clm/status").status_code
            for host in (
                "10.0.0.5:8000",
                "CLM.example",
                "clm.example:443",
                "[2001:db8::5]",
                "localhost",
                "a.example",
            )
        }
        assert found.pop("a.example") == 400
        assert set(found.values()) == {200}

    def test_is_whatever_leads_here_where_it_listens_to_all_addresses(
        self, service: Service, application_of: ApplicationOf
    ) -> None:
        for listed, expected in ((), 200), (("clm.example",), 400):
            settings = service[1].settings.model_copy(update={"host": "0.0.0.0", "allowed_hosts": listed})
            application = application_of(settings)
            _, key = application.keys.add(f"desk{expected}", Role.READ)

            client = caller(create_app(application), key, host="any.example", address="10.0.0.9")

            assert client.get("/api/clm/status").status_code == expected

    def test_does_not_matter_to_probes_which_learn_nothing_by_it(self, service: Service) -> None:
        client = caller(service[0], host="10.0.0.5:8000")

        assert client.get("/health/live").status_code == 200
        assert set(client.get("/health/ready").json()) == {"status"}


class TestOtherPages:
    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9000"},
            {"origin": "http://localhost:8000"}, {"origin": "http://[::1"}, {"origin": "file://"},
            {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
            {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"},
            {"origin": "http://127.0.0.1:8000.evil.example"},
        ],
    )  # fmt: skip
    def test_change_nothing(self, service: Service, headers: dict[str, str]) -> None:
        app, application = service

        answer = caller(app).delete(CLEAR, headers=headers)

        assert (answer.status_code, answer.json()["type"]) == (403, "urn:clm:error:cross-site")
        assert application.audit.recent(1)[0].result == "403"

    @pytest.mark.parametrize(
        "headers",
        [{}, {"origin": "http://127.0.0.1:8000"}, {"origin": "https://127.0.0.1:8000"},
         {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
    )  # fmt: skip
    def test_are_not_programs_nor_its_own_pages(self, service: Service, headers: dict[str, str]) -> None:
        assert caller(service[0]).delete(CLEAR, headers=headers).status_code == 200

    def test_may_not_even_read_unless_they_are_listed(
        self, service: Service, application_of: ApplicationOf
    ) -> None:
        desk = "https://desk.example"
        settings = service[1].settings.model_copy(update={"cors_origins": (desk,)})
        preflight = {
            "origin": desk, "access-control-request-method": "DELETE",
            "access-control-request-headers": "x-api-key",
        }  # fmt: skip
        closed, opened = caller(service[0]), caller(create_app(application_of(settings)))

        answer = closed.get("/api/clm/status", headers={"origin": desk})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert closed.options(CLEAR, headers=preflight).status_code == 405

        answer = opened.get("/api/clm/status", headers={"origin": desk})
        assert answer.headers["access-control-allow-origin"] == desk
        assert "access-control-allow-credentials" not in answer.headers
        assert opened.options(CLEAR, headers=preflight).status_code == 200
        assert opened.delete(CLEAR, headers={"origin": desk}).status_code == 200
        assert opened.delete(CLEAR, headers={"origin": "https://evil.example"}).status_code == 403
        assert (
            opened.options(CLEAR, headers={**preflight, "origin": "https://evil.example"}).status_code == 400
        )

    @pytest.mark.parametrize(
        "origins", ["*", "https://*.example", "desk.example", "https://desk.example/path", "null"]
    )
    def test_are_listed_by_their_names(self, service: Service, origins: str) -> None:
        with pytest.raises(BadInput, match="CLM_CORS_ORIGINS"):
            service[1].settings.load(cors_origins=origins)


class TestTooOften:
    def test_is_429_for_whoever_goes_on_and_for_nobody_else(self, service: Service) -> None:
        app, application = service
        keys = [application.keys.add(name, Role.OPERATE)[1] for name in ("one", "two")]
        first, second = (caller(app, key) for key in keys)
        assert [first.delete(CLEAR).status_code for _ in range(5)] == [200] * 5

        refused = [first.delete(CLEAR) for _ in range(20)]

        assert {answer.status_code for answer in refused} == {429}
        assert refused[0].headers["content-type"] == PROBLEM
        assert 1 <= int(refused[0].headers["retry-after"]) <= 60
        assert first.get("/api/clm/status").status_code == 200
        assert second.delete(CLEAR).status_code == 200

    def test_is_on_record_once_a_minute_so_that_no_flood_fills_the_trail(self, service: Service) -> None:
        app, application = service
        application.keys.add("desk", Role.ADMIN)
        for _ in range(30):
            caller(app, address="192.0.2.7").post("/api/clm/retrain")

        results = [row.result for row in application.audit.recent(100)]

        assert results == ["429", *["401"] * 5]

    def test_counts_an_ipv6_network_as_one_caller(self, service: Service) -> None:
        app, application = service
        application.keys.add("desk", Role.ADMIN)

        found = [caller(app, address=f"2001:db8:0:1::{n:x}").delete(CLEAR).status_code for n in range(1, 8)]
        assert found == [401] * 5 + [429] * 2
        assert caller(app, address="2001:db8:0:2::1").delete(CLEAR).status_code == 401


class TestTooLong:
    @pytest.mark.parametrize("chunked", [False, True])
    def test_is_413_whether_or_not_its_length_was_declared(self, service: Service, chunked: bool) -> None:
        app, application = service
        body = b" " * 2049

        def parts() -> Iterator[bytes]:
            for start in range(0, len(body), 100):
                yield body[start : start + 100]

        answer = caller(app).post("/api/clm/retrain", content=parts() if chunked else body)

        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
        assert "2 kB" in answer.json()["detail"]
        assert application.audit.recent(1)[0].result == "413"
        assert application.runs.latest() is None

    def test_is_not_what_just_fits(self, service: Service) -> None:
        body = b'{"models": []' + b" " * 2034 + b"}"

        answer = caller(service[0], content_type="application/json").post("/api/clm/retrain", content=body)

        assert (len(body), answer.status_code) == (2048, 422)


class TestEveryAnswer:
    def test_carries_headers_that_keep_browsers_from_mischief(self, service: Service) -> None:
        client = caller(service[0])
        answers = [
            client.get("/api/clm/status"), client.get("/docs"), client.get("/login"),
            client.get("/openapi.json"), client.get("/health/live"), client.get("/nothing"),
            client.put("/api/clm/status"), client.delete(CLEAR, headers={"origin": "null"}),
            client.get("/", headers={"host": "evil.example"}),
            client.get("/static-offline-docs/swagger-ui.css"),
        ]  # fmt: skip

        for answer in answers:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert [a.headers.get("cache-control") for a in answers] == ["no-store"] * 9 + [None]

    def test_of_a_bug_carries_them_too_and_not_its_cause(self, service: Service) -> None:
        app, application = service

        @app.post("/api/clm/bug")
        def bug() -> None:
            raise RuntimeError("the cause")

        answer = caller(app).post("/api/clm/bug")

        assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
        assert "cause" not in answer.text.replace("its cause", "")
        assert answer.headers["x-frame-options"] == "DENY"
        assert application.audit.recent(1)[0].result == "500 RuntimeError"

    def test_of_swagger_allows_what_its_page_and_its_files_do_and_nothing_from_elsewhere(
        self, service: Service
    ) -> None:
        client = caller(service[0])
        for path in ("/docs", "/redoc"):
            answer = client.get(path)
            policy = dict(
                part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
            )

            assert re.search(r"<script>|<style>", answer.text)
            assert "'unsafe-inline'" in policy["script-src"]
            assert "'unsafe-inline'" in policy["style-src"]
            assert policy["connect-src"] == "'self'"
            for file in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
                assert file.startswith("/static-offline-docs/")
                assert client.get(file).status_code == 200
        pictures = client.get("/static-offline-docs/swagger-ui.css").text
        assert set(re.findall(r"url\(['\"]?(\w+):", pictures)) == {"data"}
        assert "data:" in policy["img-src"]


def test_websockets_are_opened_by_no_stranger_and_no_other_page(service: Service) -> None:
    app, application = service
    _, key = application.keys.add("desk", Role.READ)

    @app.websocket("/socket")
    async def opened(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    here, page = "ws://127.0.0.1:8000/socket", "http://127.0.0.1:8000"
    for client, url in (
        (caller(app), here),
        (caller(app, key, origin="https://evil.example"), here),
        (caller(app, key), "ws://evil.example/socket"),
    ):
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(url):
            pass
        assert refused.value.code == 1008
    with caller(app, key, origin=page).websocket_connect(here) as socket:
        assert socket.receive() == {"type": "websocket.close", "code": 1000, "reason": ""}


def test_the_defaults_are_a_minute_of_sixty_and_a_megabyte(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        settings = settings_for(exchange, tmp_path)
        assert (settings.rate_limit_per_minute, settings.max_body_kb) == (60, 1024)
        client = TestClient(create_app(application))

        assert [client.delete(CLEAR).status_code for _ in range(61)] == [200] * 60 + [429]
