"""HTTP as uvicorn speaks it, with an end to what a caller may say: heads of 64 kB, requests of 20 seconds.

A caller that is never done would otherwise keep a connection, and what it has sent so far, for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's first line and headers together.
LONGEST_HEAD = 65_536
#: Seconds from a connection, or the first byte of a further request on it, to the request's last byte.
WHOLE_WITHIN = 20.0


class Bounded(HttpToolsProtocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None
    _in_head, _refused = True, False
    #: Bytes that came since the last request was whole.
    _came = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_the_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_it_all()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._came += len(data)
        super().data_received(data)
        if self._in_head and self._came > LONGEST_HEAD:
            self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._timer is None:
            self._expect_the_rest()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LONGEST_HEAD:
            self._refuse()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._have_it_all()
        if not self._refused:
            super().on_message_complete()

    def _expect_the_rest(self) -> None:
        self._timer = self.loop.call_later(WHOLE_WITHIN, self._too_late)

    def _have_it_all(self) -> None:
        self._came = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self.pipeline:
            # Its answers to what came before are not all made: nothing more is read until they are.
            return self._expect_the_rest()
        self._timer = None
        return self._end(b"408 Request Timeout" if self._came and self._in_head else None)

    def _refuse(self) -> None:
        if not self._refused:
            self._end(b"431 Request Header Fields Too Large")

    def _end(self, status: bytes | None) -> None:
        """The last word, where nothing else is being said on this connection."""
        self._refused = True
        # Until the first request is whole there is none.
        cycle: object = self.cycle
        answering = cycle is not None and not self.cycle.response_complete
        if status is not None and not answering:
            self.transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        self.transport.close()
