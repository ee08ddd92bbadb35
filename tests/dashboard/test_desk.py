"""What open pages share: looks of visitors with the same role, and never who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI, Request
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from clm.api.access import CALLER, doorkeeper_of
from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.access import Role
from clm.dashboard.desk import Desk, Refused, Session
from tests.support.loops import finished
from tests.support.service import caller, running_service


class Counted:
    """The app, and the paths that its routes were asked for."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await self._app(scope, receive, send)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


class House:
    """A service with keys, and visitors who logged in to its pages."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.routes = Counted(create_app(application))
        self.desk = Desk(cast(FastAPI, self.routes))

    def visitor(self, name: str, role: Role) -> Session:
        """Logged in by a key of their own."""
        key = self.application.keys.add(name, role)[1]
        client = caller(cast(FastAPI, self.routes))
        assert client.post("/login", data={"key": key}).status_code == 303
        cookie = f"clm_session={client.cookies['clm_session']}"
        scope: dict[str, Any] = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "app": self.routes,
            "headers": [(b"host", b"127.0.0.1:8000"), (b"cookie", cookie.encode())],
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8000), "scheme": "http",
        }  # fmt: skip
        scope[CALLER] = doorkeeper_of(scope).identify(HTTPConnection(scope))
        return self.desk.session(Request(scope))

    def looks(self, path: str) -> int:
        """How often the routes were asked for it."""
        return self.routes.asked.count(path)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_service(tmp_path) as (application, _):
        yield House(application)


MODELS = "/api/clm/models"


def test_visitors_of_one_role_share_a_look_and_those_of_another_have_their_own(house: House) -> None:
    readers = [house.visitor(f"desk{n}", Role.READ) for n in range(3)]
    admin = house.visitor("boss", Role.ADMIN)

    async def work() -> None:
        answers = await asyncio.gather(*(reader.get(MODELS) for reader in readers))
        assert answers == [answers[0]] * 3
        assert house.looks(MODELS) == 1

        await admin.get(MODELS)
        assert house.looks(MODELS) == 2

    finished(work)


def test_whose_session_is_over_is_refused_alone_whoever_looked_first(house: House) -> None:
    gone, stays = house.visitor("gone", Role.READ), house.visitor("stays", Role.READ)

    async def work() -> None:
        # Both are known for the next two seconds; then the key of the one is taken away.
        await asyncio.gather(gone.get(MODELS), stays.get(MODELS))
        house.application.keys.revoke("gone")

        # The shared look is the refused one's own.
        with pytest.raises(Refused) as refused:
            await gone.get("/api/clm/status")
        assert refused.value.status == 401
        assert (await stays.get("/api/clm/status"))["run_id"] is None

    finished(work)


def test_a_role_that_does_not_suffice_is_refused_as_the_route_does(house: House) -> None:
    reader = house.visitor("desk", Role.READ)

    async def work() -> None:
        with pytest.raises(Refused, match="admin") as refused:
            await reader.get("/api/clm/audit")
        assert refused.value.status == 403

    finished(work)
