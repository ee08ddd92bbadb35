"""Whatever goes wrong is a `ClientError` that says what, and only what may be sent twice is sent twice."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from benchmarks.asking import free_port
from clm.client import (
    AccessRefused,
    Client,
    ClientError,
    Conflict,
    NotFound,
    Run,
    ServiceUnavailable,
    StillRunning,
    TimedOut,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
    WrongInput,
)
from tests.client.conftest import OPERATE, READ, Service

Answer = httpx.Response | Exception


class Scripted(httpx.BaseTransport):
    """Gives these answers, one after the other, the last one for ever; counts what was sent."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.sent = list(answers), 0
        self.paths: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[min(self.sent, len(self.answers) - 1)]
        self.sent += 1
        self.paths.append(request.url.raw_path)
        if isinstance(answer, Exception):
            raise answer
        # A response is read once.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


class Clock:
    """Sleeping is what makes time go by."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client_of(*answers: Answer, **more: Any) -> tuple[Client, Scripted, Clock]:
    transport, clock = Scripted(*answers), Clock()
    client = Client(transport=transport, sleep=clock.sleep, clock=lambda: clock.now, **more)
    return client, transport, clock


def problem(status: int, detail: str = "so it is", headers: Any = None, **members: Any) -> httpx.Response:
    body = {"type": "urn:clm:error:x", "title": "T", "status": status, "detail": detail, **members}
    return httpx.Response(
        status, json=body, headers={**(headers or {}), "content-type": "application/problem+json"}
    )


FINE = httpx.Response(200, json={"status": "alive"})
AWAY = httpx.ConnectError("connection refused")


class TestRealFailures:
    def test_a_service_that_is_not_there_is_unreachable(self) -> None:
        with Client(f"http://127.0.0.1:{free_port()}", sleep=lambda _: None) as client:
            with pytest.raises(Unreachable, match=r"cannot be reached: .*refused") as failed:
                client.status()

        assert failed.value.status is None

    def test_one_that_hangs_is_given_up_in_time_and_not_asked_again(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            with Client(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2) as client:
                with pytest.raises(TimedOut, match=r"did not answer within 0\.2 seconds"):
                    client.status()
                deaf.setblocking(False)
                deaf.accept()[0].close()
                with pytest.raises(BlockingIOError):
                    deaf.accept()

    @pytest.mark.parametrize(
        ("key", "call", "status", "needed"),
        [
            (None, lambda c: c.status(), 401, "read"),
            ("a-key-nobody-gave-0001", lambda c: c.predict(), 401, "read"),
            (READ, lambda c: c.retrain(), 403, "operate"),
            (OPERATE, lambda c: c.audit(), 403, "admin"),
        ],
    )
    def test_a_missing_wrong_or_lesser_key_is_refused_and_the_role_that_is_needed_named(
        self, locked: Service, key: str | None, call: Callable[[Client], Any], status: int, needed: str
    ) -> None:
        with Client(locked.url, key) as client, pytest.raises(AccessRefused) as refused:
            call(client)

        assert (refused.value.status, refused.value.role_needed) == (status, needed)
        assert "this needs" in refused.value.detail
        assert key is None or key not in str(refused.value)

    def test_too_many_changes_say_when_to_come_again_and_are_not_repeated(self, strict: Service) -> None:
        with Client(strict.url, OPERATE, sleep=_never) as client:
            client.clear_cache()
            with pytest.raises(TooManyRequests) as refused:
                client.clear_cache()

        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after <= 60
        assert f"come again in {refused.value.retry_after:.0f} s" in refused.value.detail


def _never(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s")


class TestEveryAnswer:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, ClientError), (401, AccessRefused), (403, AccessRefused), (404, NotFound), (409, Conflict),
            (413, ClientError), (422, WrongInput), (429, TooManyRequests), (500, ClientError),
            (502, ClientError), (503, ServiceUnavailable),
        ],
    )  # fmt: skip
    def test_that_is_a_problem_document_becomes_the_error_of_its_status(
        self, status: int, kind: type[ClientError]
    ) -> None:
        client, _, _ = client_of(problem(status, run_id="r1"))

        with pytest.raises(ClientError) as failed:
            client.status()

        assert type(failed.value) is kind
        assert (failed.value.status, failed.value.title, failed.value.detail) == (status, "T", "so it is")
        assert (failed.value.kind, failed.value.members["run_id"]) == ("urn:clm:error:x", "r1")
        assert str(failed.value) == f"{status} T: so it is"

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (httpx.Response(200, html="<p>hello"), "text/html.* in place of JSON"),
            (httpx.Response(200, json=[1]), r"'\[1\]' where an object with run_id was due"),
            (httpx.Response(200, json={"run_id": "r1"}), "no 'status', which a Run has"),
            (httpx.Response(200, json={"run_id": "r", "status": "x", "created_at": "n"}), "'n' is no time"),
            (httpx.Response(307, headers={"location": "https://evil.example/"}), "sends one to"),
        ],
    )  # fmt: skip
    def test_that_no_clm_service_gives_is_unexpected(self, answer: httpx.Response, said: str) -> None:
        client, transport, _ = client_of(answer)

        with pytest.raises(UnexpectedAnswer, match=said):
            client.status()

        assert transport.sent == 1

    def test_of_a_proxy_keeps_its_status_and_says_who_answered(self) -> None:
        client, _, _ = client_of(httpx.Response(502, html="<h1>Bad Gateway</h1>"))

        with pytest.raises(ClientError, match=r"502 Bad Gateway: http://127\.0\.0\.1:8000 answered without"):
            client.status()

    def test_that_a_service_is_not_ready_is_no_error(self) -> None:
        client, transport, _ = client_of(httpx.Response(503, json={"status": "not ready"}))

        assert client.ready() == {"status": "not ready"}
        assert transport.sent == 1

    def test_with_fields_of_a_newer_service_is_read_all_the_same(self) -> None:
        client, _, _ = client_of(httpx.Response(200, json={"run_id": "r1", "status": "completed", "new": 1}))

        assert client.run("r1").raw["new"] == 1


HTTPX_ERRORS = [
    kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, httpx.RequestError)
]


def test_a_name_stays_one_segment_of_the_path_whatever_it_is_made_of() -> None:
    client, transport, _ = client_of(problem(404))

    with pytest.raises(NotFound):
        client.run("../../docs?a=1#b %2e")

    assert transport.paths == [b"/api/clm/runs/..%2F..%2Fdocs%3Fa%3D1%23b%20%252e"]


@pytest.mark.parametrize("vendor", HTTPX_ERRORS)
def test_no_error_of_httpx_comes_through(vendor: type[httpx.RequestError]) -> None:
    client, _, _ = client_of(vendor("broken"))

    with pytest.raises((Unreachable, UnexpectedAnswer)) as failed:
        client.retrain()

    assert isinstance(failed.value.__cause__, vendor)
    assert isinstance(failed.value, TimedOut) == issubclass(vendor, httpx.TimeoutException)


class TestRetries:
    @pytest.mark.parametrize(
        ("answers", "slept"),
        [
            ([AWAY, FINE], [0.25]),
            ([AWAY, httpx.RemoteProtocolError("server disconnected"), FINE], [0.25, 0.5]),
            ([problem(503, headers={"Retry-After": "7"}), FINE], [7]),
        ],
    )
    def test_a_get_outlives_a_broken_connection_and_a_503_that_says_when_to_come_again(
        self, answers: list[Answer], slept: list[float]
    ) -> None:
        client, _, clock = client_of(*answers)

        assert client.live() == {"status": "alive"}
        assert clock.slept == slept

    @pytest.mark.parametrize(
        ("answer", "retries", "sent"),
        [
            (AWAY, 2, 3),
            (AWAY, 0, 1),
            (AWAY, -1, 1),
            (httpx.ReadTimeout("slow"), 2, 1),
            (problem(503), 2, 1),
            (problem(503, headers={"Retry-After": "31"}), 2, 1),
            (problem(429, headers={"Retry-After": "1"}), 2, 1),
            (problem(500), 2, 1),
        ],
    )
    def test_but_not_for_ever_and_nothing_else(self, answer: Answer, retries: int, sent: int) -> None:
        client, transport, _ = client_of(answer, retries=retries)

        with pytest.raises(ClientError):
            client.status()

        assert transport.sent == sent

    @pytest.mark.parametrize("answer", [AWAY, problem(503, headers={"Retry-After": "1"})])
    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.retrain(), lambda c: c.cancel("r1"), lambda c: c.clear_cache(),
            lambda c: c.rollback("xgboost"), lambda c: c.predict_many(["BTCUSDT"]),
        ],
    )  # fmt: skip
    def test_nothing_but_a_get_is_ever_sent_twice(
        self, call: Callable[[Client], Any], answer: Answer
    ) -> None:
        client, transport, _ = client_of(answer)

        with pytest.raises((Unreachable, ServiceUnavailable)):
            call(client)

        assert transport.sent == 1

    @pytest.mark.parametrize(
        ("header", "low", "high"),
        [
            ("12", 12, 12),
            ("Fri, 01 Jan 2100 00:00:00 GMT", 1e9, 1e10),
            ("Fri, 01 Jan 2010 00:00:00 GMT", 0, 0),
        ],
    )
    def test_retry_after_is_read_as_seconds_and_as_a_moment(
        self, header: str, low: float, high: float
    ) -> None:
        client, _, _ = client_of(problem(429, headers={"Retry-After": header}))

        with pytest.raises(TooManyRequests) as refused:
            client.retrain()

        assert refused.value.retry_after is not None
        assert low <= refused.value.retry_after <= high

    @pytest.mark.parametrize("header", ["soon", "-1", ""])
    def test_and_as_nothing_where_it_makes_no_sense(self, header: str) -> None:
        client, _, _ = client_of(problem(429, headers={"Retry-After": header}))

        with pytest.raises(TooManyRequests) as refused:
            client.retrain()

        assert refused.value.retry_after is None


def looks(*states: str) -> list[Answer]:
    """What a run looks like, one look after the other; `away`: the service does not answer."""
    return [AWAY if s == "away" else httpx.Response(200, json={"run_id": "r1", "status": s}) for s in states]


class TestWaiting:
    def test_outlasts_a_restart_of_the_service_that_takes_the_run_up_again(self) -> None:
        states = ("running", "away", "interrupted", "running", "away", "completed")
        client, _, clock = client_of(*looks(*states), retries=0)

        run = client.wait("r1", poll=2)

        assert run == Run(run_id="r1", status="completed")
        assert clock.slept == [2] * 5

    @pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
    def test_returns_a_run_whatever_its_end(self, end: str) -> None:
        client, _, _ = client_of(*looks("running", end))

        assert client.wait("r1").status == end

    def test_gives_a_service_up_that_does_not_come_back(self) -> None:
        client, _, clock = client_of(*looks("running", "away"), retries=0)

        with pytest.raises(Unreachable):
            client.wait("r1", poll=5, outage=60)

        assert 60 <= clock.now <= 65

    def test_returns_a_run_that_stays_interrupted(self) -> None:
        client, _, clock = client_of(*looks("running", "interrupted"))

        assert client.wait("r1", outage=60).status == "interrupted"
        assert 60 <= clock.now <= 61

    def test_ends_at_its_time_limit_with_the_run_as_it_was_last_seen(self) -> None:
        client, _, clock = client_of(*looks("running"))

        with pytest.raises(StillRunning) as waited:
            client.wait("r1", timeout=3.5)

        assert clock.slept == [1, 1, 1, 0.5]
        assert waited.value.run == Run(run_id="r1", status="running")

    def test_for_a_run_that_does_not_exist_is_not_found(self) -> None:
        client, transport, _ = client_of(problem(404))

        with pytest.raises(NotFound):
            client.wait("r1")
        assert transport.sent == 1


def test_a_proxy_of_the_environment_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:s3cret@127.0.0.1:9")
    for name in ("http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    with Client("http://192.0.2.1:8000", retries=0) as client, pytest.raises(Unreachable) as refused:
        client.status()

    assert "asked through the proxy 127.0.0.1:9 of this environment" in str(refused.value)
    assert "s3cret" not in str(refused.value)
