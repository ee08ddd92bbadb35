"""A browser's way in: the form, the session, and out again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.access import Role
from tests.support.service import caller, running_service

Service = tuple[FastAPI, Application, str]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path) as (application, _):
        yield create_app(application), application, application.keys.add("desk", Role.READ)[1]


def _log_in(client: TestClient, key: str, after: str = "/docs") -> str:
    """Where the service sends the browser."""
    answer = client.post("/login", data={"key": key, "next": after})
    assert answer.status_code == 303
    return answer.headers["location"]


def test_a_browser_that_comes_without_a_key_is_asked_for_one(service: Service) -> None:
    client = caller(service[0], accept="text/html,application/xhtml+xml")

    for path in ("/", "/docs"):
        answer = client.get(path)

        assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert f'name="next" type="hidden" value="{path}"' in answer.text
    assert client.get("/login").status_code == 200
    assert "<script" not in client.get("/login").text


def test_a_right_key_begins_a_session_that_opens_what_the_key_opens(service: Service) -> None:
    app, _, key = service
    client = caller(app)

    assert _log_in(client, key) == "/docs"

    assert client.get("/docs").status_code == 200
    assert client.get("/api/clm/status").status_code == 200
    assert client.post("/api/clm/retrain").status_code == 403


def test_the_cookie_is_for_this_service_alone_and_holds_no_key(service: Service) -> None:
    app, _, key = service

    plain = caller(app).post("/login", data={"key": key}).headers["set-cookie"]
    secure = (
        TestClient(app, "https://127.0.0.1")
        .post("/login", data={"key": key}, follow_redirects=False)
        .headers["set-cookie"]
    )

    assert re.match(r"clm_session=[\w-]{40,}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict$", plain)
    assert secure.endswith("; Secure")
    assert key not in plain


def test_a_wrong_key_is_told_so_and_begins_nothing(service: Service) -> None:
    answer = caller(service[0]).post("/login", data={"key": "clm_wrong"})

    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert "not a key to this service" in answer.text


def test_whatever_is_posted_is_no_more_than_wrong(service: Service) -> None:
    client = caller(service[0])
    for content in (b"", b"\xff\xfe", b"key", b"&" * 5000, b"key=a&key=b&next=//evil.example"):
        answer = client.post("/login", content=content)

        assert answer.status_code == 401


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "/\t/evil.example",
     '"><script>alert(1)</script>', "/docs\r\nSet-Cookie: a=b", "javascript:alert(1)"],
)  # fmt: skip
def test_nobody_is_led_elsewhere_or_into_a_script(service: Service, elsewhere: str) -> None:
    app, _, key = service

    assert _log_in(caller(app), key, elsewhere) == "/"
    assert "<script" not in caller(app).get("/login", params={"next": elsewhere}).text


def test_revoking_the_key_ends_the_session(service: Service) -> None:
    app, application, key = service
    client = caller(app)
    _log_in(client, key)

    application.keys.revoke("desk")

    answer = client.get("/api/clm/status")
    assert (answer.status_code, "session is over" in answer.json()["detail"]) == (401, True)


def test_logging_out_ends_it_on_the_service_not_only_in_the_browser(service: Service) -> None:
    app, _, key = service
    client = caller(app)
    _log_in(client, key)
    token = client.cookies["clm_session"]

    answer = client.post("/logout")

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "clm_session" not in client.cookies
    client.cookies.set("clm_session", token)
    assert client.get("/api/clm/status").status_code == 401


def test_ten_attempts_a_minute_from_an_address_right_or_wrong(service: Service) -> None:
    app, application, key = service
    guesser = caller(app, address="192.0.2.7")
    for _ in range(10):
        assert guesser.post("/login", data={"key": "clm_wrong"}).status_code == 401

    refused = guesser.post("/login", data={"key": key})

    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert caller(app, address="192.0.2.8").post("/login", data={"key": key}).status_code == 303
    assert [row.result for row in application.audit.recent(3)] == ["303 as desk", "429", "401"]
    assert {row.deed.actor for row in application.audit.recent()} == {"stranger"}


def test_a_form_on_another_page_logs_nobody_in(service: Service) -> None:
    app, _, key = service

    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
        assert caller(app, **headers).post("/login", data={"key": key}).status_code == 403
