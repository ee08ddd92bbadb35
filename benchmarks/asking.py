"""Asks one server the same again and again, and as little else as possible: what is timed is the server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

import httpx


class Connection:
    """One kept-alive connection that asks the same again and again; POST where there is a body of JSON."""

    def __init__(self, url: str, path: str, body: bytes | None = None) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._request = head.encode() + b"\r\n" + (body or b"")

    def renew(self) -> None:
        """A new connection: servers hang up on one that is silent for some seconds."""
        if self._socket is not None:
            self._socket.close()
        self._socket = socket.create_connection(self._address, timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> float:
        """Seconds one answer took. Raises RuntimeError for any other than 200."""
        began = time.perf_counter()
        self.answer()
        return time.perf_counter() - began

    def answer(self) -> bytes:
        """The body. Raises RuntimeError for any other status than 200, OSError."""
        if self._socket is None:
            self.renew()
        assert self._socket is not None
        self._socket.sendall(self._request)
        seen = self._read(b"")
        while b"\r\n\r\n" not in seen:
            seen = self._read(seen)
        head, _, body = seen.partition(b"\r\n\r\n")
        if not seen.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(seen[:300].decode())
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body = self._read(body)
        return body

    def _read(self, seen: bytes) -> bytes:
        assert self._socket is not None
        more = self._socket.recv(65_536)
        if not more:
            raise RuntimeError("the server hung up")
        return seen + more


def rounds(asked: Mapping[str, Connection], seconds: float, turns: int) -> dict[str, list[list[float]]]:
    """Latencies per name and turn, each asked for `seconds` in each of so many turns."""
    taken: dict[str, list[list[float]]] = {name: [] for name in asked}
    for _ in range(turns):
        for name, connection in asked.items():
            connection.renew()
            for _ in range(20):
                connection.ask()
            taken[name].append([])
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                taken[name][-1].append(connection.ask())
    return taken


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def until_it_answers(url: str, seconds: float = 60) -> None:
    until(lambda: httpx.get(url).status_code == 200, seconds)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Raises RuntimeError where it never comes true; a server that does not answer yet is waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"it never came up within {seconds:g} s")
