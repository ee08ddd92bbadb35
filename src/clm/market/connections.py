"""python-binance's clients: one for each thread, shared by all series that one exchange is asked about."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clm.core.text import mask_url

if TYPE_CHECKING:
    from binance.client import Client

_CONNECT_AND_READ_SECONDS = (5, 20)
#: Seconds without an answer after which nobody in front of a screen goes on waiting for one.
_SILENT = 1.0


class Connections:
    """To one exchange. A session is not to be shared between threads; between series it may be."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._local = threading.local()
        self._opened: list[Client] = []
        self._asked: dict[object, float] = {}
        self._heard = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around one question to the exchange: out for as long, and answered if nothing raises."""
        question = object()
        with self._lock:
            self._asked[question] = time.monotonic()
        try:
            yield
            self._heard = time.monotonic()
        finally:
            with self._lock:
                del self._asked[question]

    def silence(self) -> str | None:
        """That questions are out and have not been answered for a second, as a sentence; None: not so."""
        with self._lock:
            oldest = min(self._asked.values(), default=None)
        if oldest is None or time.monotonic() - max(oldest, self._heard) < _SILENT:
            return None
        return f"{mask_url(self.base_url)} did not answer within {_SILENT:g} second"

    def mine(self, *, apart: bool = False) -> Client:
        """This thread's client, opened when first asked for. apart: closed by who asks."""
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            # python-binance takes most of a second to import; whoever asks nothing does not pay for it.
            from clm.market.vendor import open_client

            client = self._local.client = open_client(self.base_url, _CONNECT_AND_READ_SECONDS)
            if not apart:
                self._opened.append(client)
        return client

    def close(self) -> None:
        """Closes those of every thread; whoever asks next opens a new one."""
        opened, self._opened, self._local = self._opened, [], threading.local()
        for client in opened:
            client.close_connection()
