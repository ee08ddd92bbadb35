"""A caller that is never done: no connection is kept for it for ever, and nothing of endless length."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from clm.cli.conversation import LONGEST_HEAD, WHOLE_WITHIN
from tests.support.exchange import serving, simulated
from tests.support.shell import serving_clm, shell_in
from tests.support.waiting import LIMIT

pytestmark = pytest.mark.rehearse

HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/clm/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(simulated()) as exchange:
        shell = shell_in(tmp_path_factory.mktemp("conversation"), exchange)
        shell.environment |= {"CLM_LIVE_SHADOW": "false", "CLM_SCHEDULE": "off"}
        with serving_clm(shell, shell.folder / "log") as (_, base):
            yield base


def _connected(service: str) -> socket.socket:
    url = httpx.URL(service)
    made = socket.create_connection((url.host, url.port or 80))
    made.settimeout(LIMIT)
    return made


def _rest(connection: socket.socket) -> bytes:
    """What comes until the other side hangs up."""
    said = b""
    try:
        while more := connection.recv(65536):
            said += more
    except ConnectionResetError:
        # It hung up while more was on its way to it.
        pass
    return said


#: What is said, and what the service's last word begins with.
HALF = {
    "nothing": (b"", b""), "half a line": (b"GET /health", b"HTTP/1.1 408"),
    "a head without an end": (HEAD, b"HTTP/1.1 408"), "half a header": (HEAD + b"X: ", b"HTTP/1.1 408"),
    "half a body": (POST, b""),
}  # fmt: skip


def test_a_request_that_is_not_whole_in_time_is_hung_up_on(service: str) -> None:
    with ExitStack() as stack:
        began = time.monotonic()
        open_ones = {name: stack.enter_context(_connected(service)) for name in HALF}
        for name, (half, _) in HALF.items():
            open_ones[name].sendall(half)
        # The second request of a connection has its time too.
        again = stack.enter_context(_connected(service))
        again.sendall(HEAD + b"\r\n")
        said = b""
        while b"alive" not in said:
            more = again.recv(65536)
            assert more, said
            said += more
        again.sendall(b"GET /hea")
        last = {name: _rest(connection) for name, connection in open_ones.items()}
        last_of_again, ended = _rest(again), time.monotonic()

    assert {name: last[name].startswith(heard) for name, (_, heard) in HALF.items()} == dict.fromkeys(
        HALF, True
    )
    assert last_of_again.startswith(b"HTTP/1.1 408")
    assert WHOLE_WITHIN / 2 < ended - began < LIMIT / 2
    assert httpx.get(f"{service}/health/live").status_code == 200


@pytest.mark.parametrize("piece", [b"a" * 4096, b"a: b\r\n" * 600], ids=["one header", "many headers"])
def test_headers_without_end_are_refused(service: str, piece: bytes) -> None:
    sent = 0
    with _connected(service) as connection:
        connection.sendall(HEAD + (b"X: " if b":" not in piece else b""))
        try:
            while sent < 100 * LONGEST_HEAD:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            # It has hung up.
            pass
        _rest(connection)

    # What the kernels on the way hold for it is sent all the same.
    assert sent < 100 * LONGEST_HEAD


def test_a_head_that_came_as_a_whole_but_is_too_long_is_refused_and_a_long_body_is_not(service: str) -> None:
    with httpx.Client(timeout=LIMIT) as http:
        fits = http.get(f"{service}/health/live", headers={"X-Long": "a" * (LONGEST_HEAD - 2000)})
        too_long = http.get(f"{service}/health/live", headers={"X-Long": "a" * LONGEST_HEAD})
        body = http.post(f"{service}/api/clm/predict", content=b" " * 900_000 + b"{}")

    assert (fits.status_code, too_long.status_code, body.status_code) == (200, 431, 422)
    # What was wrong is repeated, but not all of it.
    assert len(body.content) < 10_000


def test_the_form_at_the_door_takes_a_few_letters_only(service: str) -> None:
    long = httpx.post(f"{service}/login", data={"key": "://" * 4000}, timeout=LIMIT)

    assert long.status_code == 413
