"""What pages read: the REST routes, asked in this process in the name of whoever looks at the page.

So a page shows what the routes would, and refuses what they would. Open pages of one session share a look.
What changes something is sent by the browser itself; see `clm.dashboard.frame.send`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI, Request

from clm.api.access import CALLER
from clm.api.hosts import address_of
from clm.api.lookout import Lookout
from clm.core.access import Caller

#: What tells the routes who asks, from where and under which name of the service.
_PASSED_ON = (
    "host",
    "cookie",
    "x-api-key",
    "authorization",
    "x-forwarded-for",
    "x-forwarded-host",
    "forwarded",
)
#: Seconds one look serves all open pages.
_LOOK = 2.0


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

    def session(self, request: Request) -> Session:
        """The routes in the name of whoever asked for a page."""
        return Session(self, request)


class Session:
    """One visitor's view of the routes. caller: who they are, as the gate found."""

    def __init__(self, desk: Desk, request: Request) -> None:
        self._desk = desk
        self.caller: Caller = request.scope[CALLER]
        named = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        self._who = (address_of(request.scope), tuple(sorted(named.items())))
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(desk.app, raise_app_exceptions=False, client=(self._who[0], 0)),
            base_url="http://in-process", headers=named,
        )  # fmt: skip

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of `GET path`, at most two seconds old. Raises Refused. None in the query is left out."""
        given = {name: value for name, value in query.items() if value is not None}
        key = (self._who, path, tuple(sorted(given.items())))
        return await self._desk.lookout.see(key, lambda: self._asked(path, given))

    def changed(self) -> None:
        """Something was changed: the next look is a new one."""
        self._desk.lookout.drop()

    async def _asked(self, path: str, query: Mapping[str, Any]) -> Any:
        answer = await self._http.get(path, params=dict(query))
        found = answer.json()
        # A service that is not ready says so with a 503 that is no problem document.
        if answer.is_success or "checks" in found:
            return found
        raise Refused(str(found.get("detail", answer.reason_phrase)), answer.status_code)
