"""What makes the first page quick: NiceGUI's files are read and compressed once, before anybody asks.

They are the package's own, named by its version, and the same for everybody: who may have them was asked
before, by the gate.
"""

from __future__ import annotations

import re

import httpx
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clm.api.access import CALLER
from clm.api.hosts import path_of
from clm.core.access import Caller, Role
from clm.logs import logger

log = logger(__name__)
FILES = "/_nicegui"
#: Bytes of one file, and files; what a page asks for comes to half a megabyte, compressed.
_LARGEST, _MOST = 2_000_000, 300
#: A page's own files; not those that its map of modules only names.
_NAMED = re.compile(r'(?:src="|href="|url\("|from ")([^"]*/_nicegui/[^"]+)"')
_MAP = re.compile(r'"(?:vue|dompurify)": *"([^"]*/_nicegui/[^"]+)"')


class Kept:
    """Answers with files that never change, kept as they were first sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: dict[tuple[str, bool], list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope.get("query_string"):
            return await self._app(scope, receive, send)
        asked = Headers(scope=scope)
        if "range" in asked or "if-none-match" in asked or "if-modified-since" in asked:
            return await self._app(scope, receive, send)
        key = path_of(scope), "gzip" in asked.get("accept-encoding", "")
        known = self._kept.get(key)
        if known is not None:
            for message in known:
                await send({**message})
            return None
        said: list[Message] = []

        async def sending(message: Message) -> None:
            # Whoever passes it on may add to its headers.
            said.append({**message})
            await send(message)

        await self._app(scope, receive, sending)
        if len(self._kept) < _MOST and _lasting(said):
            self._kept[key] = said
        return None


def _lasting(said: list[Message]) -> bool:
    """Whether a whole answer is a file that its address will name for ever."""
    if not said or said[0].get("status") != 200 or said[-1].get("more_body", False):
        return False
    lasts = "immutable" in Headers(raw=list(said[0]["headers"])).get("cache-control", "")
    return lasts and sum(len(message.get("body", b"")) for message in said) <= _LARGEST


async def warm(app: ASGIApp) -> None:
    """Draws the first page once for nobody, and reads the files it names. What fails costs time later."""

    async def insider(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, CALLER: Caller("start", Role.READ)}, receive, send)

    transport = httpx.ASGITransport(insider, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        page = (await client.get("/")).text
        for path in sorted({*_NAMED.findall(page), *_MAP.findall(page)}):
            answer = await client.get(path)
            if not answer.is_success:
                log.info("file_not_warm", path=path, status=answer.status_code)
