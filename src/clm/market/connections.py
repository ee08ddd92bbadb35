"""python-binance's clients: one for each thread, shared by all series that one exchange is asked about."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binance.client import Client

_CONNECT_AND_READ_SECONDS = (5, 20)


class Connections:
    """To one exchange. A session is not to be shared between threads; between series it may be."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._local = threading.local()
        self._opened: list[Client] = []

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
