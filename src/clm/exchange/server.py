"""The exchange as a real HTTP server: in a thread for tests and the demo, or for ever for `clm exchange`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import uvicorn

from clm.core.errors import StorageFailed
from clm.exchange.app import Exchange, Seen, create_app
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.market import Market

_START_SECONDS = 10.0


class ExchangeServer:
    """A context manager: inside it the exchange answers at `url`."""

    def __init__(
        self,
        market: Market,
        clock: ExchangeClock,
        *,
        faults: FaultPlan | None = None,
        latency: float = 0.0,
        weight_limit: int = 6000,
        host: str = "127.0.0.1",
        port: int = 0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.exchange = Exchange(
            market, clock, faults=faults, latency=latency, weight_limit=weight_limit, wall=wall
        )
        self.clock = clock
        self._socket = _listen(host, port)
        config = uvicorn.Config(
            create_app(self.exchange), log_level="error", access_log=False, lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    @property
    def requests(self) -> list[Seen]:
        """Every request answered so far."""
        return self.exchange.requests

    def set_faults(self, plan: FaultPlan | str) -> None:
        """From now on answers are spoilt by this plan; "" heals."""
        self.exchange.faults = FaultPlan.parse(plan) if isinstance(plan, str) else plan

    def serve_forever(self) -> None:
        """Answers until Ctrl-C."""
        # uvicorn hands the interrupt on once it has closed its connections.
        with suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise StorageFailed(f"the exchange did not start within {_START_SECONDS:.0f} s at {self.url}")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.exchange.stopping = True
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(5)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises StorageFailed naming it when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError, ValueError) as exc:
        listener.close()
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise StorageFailed(f"cannot listen on {host}:{port}: {why}; choose another port") from exc
    return listener
