"""What pages read: the REST routes, asked in this process in the name of whoever looks at the page.

So a page shows what the routes would, and refuses what they would. Open pages share a look where their
visitors have the same role, which is asked for anew at each look.
What changes something is sent by the browser itself; see `clm.dashboard.frame.send`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from clm.api.access import CALLER, doorkeeper_of
from clm.api.hosts import address_of, signs_of_proxy
from clm.api.lookout import Lookout
from clm.core.access import Caller
from clm.core.errors import ClmError

#: What tells the routes who asks, from where and under which name of the service.
_PASSED_ON = (
    "host",
    "cookie",
    "x-api-key",
    "authorization",
)
#: Seconds one look serves all open pages.
_LOOK = 2.0
#: The same for what is slow to change.
_SLOW = 15.0
#: The same for what is stored, as long as nothing new is.
_STORED = 60.0
#: Seconds one of these waits for another, such as one that waits for an exchange that does not answer.
_TURN = 1.0
#: Refusals that are about who asks.
_ABOUT_WHO = (401, 403)


class Refused(Exception):
    """A route answered with a problem. status: of HTTP."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Desk:
    """The routes of one app."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.lookout: Lookout[Any] = Lookout(_LOOK)
        self.background = asyncio.Semaphore(1)

    def session(self, request: Request) -> Session:
        """The routes in the name of whoever asked for a page."""
        return Session(self, request)


class Session:
    """One visitor's view of the routes. caller: who they are, as the gate found."""

    def __init__(self, desk: Desk, request: Request) -> None:
        self._desk = desk
        self.caller: Caller = request.scope[CALLER]
        # Who they are is found as the gate finds it: by this request, in the service's own app.
        self._asker = HTTPConnection({**request.scope, "app": desk.app})
        named = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        named |= signs_of_proxy(request.scope)
        self._who = (address_of(request.scope), tuple(sorted(named.items())))
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(desk.app, raise_app_exceptions=False, client=(self._who[0], 0)),
            base_url="http://in-process", headers=named,
        )  # fmt: skip

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of `GET path`, at most two seconds old. Raises Refused. None in the query is left out."""
        return await self._seen(path, query)

    async def slow(self, path: str, **query: Any) -> Any:
        """As `get`, at most 15 seconds old."""
        return await self._seen(path, query, _SLOW)

    async def stored(self, path: str, **query: Any) -> Any:
        """As `get`, of what is stored: the same until something new is, and asked once more every minute."""
        pulse = (await self.get("/api/clm/pulse"))["pulse"]
        return await self._seen(path, query, _STORED, pulse)

    async def _seen(
        self, path: str, query: Mapping[str, Any], seconds: float | None = None, of: str = ""
    ) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        key = (await self._shared_with(), of, path, tuple(sorted(given.items())))
        try:
            ask = self._asked if seconds is None else self._asked_in_turn
            return await self._desk.lookout.see(key, lambda: ask(path, given), seconds)
        except Refused as error:
            if error.status not in _ABOUT_WHO:
                raise
        # It may have been another visitor, whose session has just ended, who was refused.
        return await self._asked(path, given)

    async def _shared_with(self) -> object:
        """Whoever has the same role is answered the same; whose session is over is refused on their own."""
        keeper = doorkeeper_of(self._asker.scope)
        try:
            caller = await self._desk.lookout.see(
                self._who, lambda: run_in_threadpool(keeper.identify, self._asker)
            )
        except ClmError as error:
            raise Refused(str(error), 503) from error
        return self._who if caller.role is None else caller.role

    def changed(self) -> None:
        """Something was changed: the next look is a new one."""
        self._desk.lookout.drop()

    async def _asked_in_turn(self, path: str, query: Mapping[str, Any]) -> Any:
        """One after the other, as long as that goes quickly: other callers' answers come between."""
        try:
            await asyncio.wait_for(self._desk.background.acquire(), _TURN)
        except TimeoutError:
            return await self._asked(path, query)
        try:
            return await self._asked(path, query)
        finally:
            self._desk.background.release()

    async def _asked(self, path: str, query: Mapping[str, Any]) -> Any:
        answer = await self._http.get(path, params=dict(query))
        found = answer.json()
        # A service that is not ready says so with a 503 that is no problem document.
        if answer.is_success or "checks" in found:
            return found
        raise Refused(str(found.get("detail", answer.reason_phrase)), answer.status_code)
