"""The dashboard's pages in the service's app. NiceGUI is one per process, and so is the dashboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from nicegui import app as window
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Message, Receive, Scope, Send

from clm.api.hosts import path_of
from clm.dashboard import (
    data,
    decisions,
    drift,
    explain,
    history,
    overview,
    replays,
    retrain,
    service,
    shadow,
)
from clm.dashboard.desk import Desk, Refused, Session
from clm.dashboard.files import FILES, Kept, warm
from clm.dashboard.frame import PAGES, apology

#: Vue compiles its templates as it goes and styles them itself; all of it comes from the package.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

#: Seconds a page may take to be put together.
_PATIENCE = 30.0
_SHOWS: dict[str, Callable[[Session, Request], Awaitable[None]]] = {
    "/retrain": retrain.retrain, "/shadow": shadow.shadow, "/history": history.history,
    "/decisions": decisions.decisions, "/explain": explain.explain, "/drift": drift.drift, "/data": data.data,
    "/replays": replays.replays, "/service": service.service,
}  # fmt: skip


class _Window(Mount):
    """What NiceGUI answers: its own pages and files, and no other path of the service."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = path_of(scope) if scope["type"] in ("http", "websocket") else ""
        if path in PAGES or path.startswith((FILES, "/decisions/")):
            return super().matches(scope)
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await super().handle(scope, receive, sending)


def mount(app: FastAPI) -> None:
    """Puts the dashboard at `/` of the service's app. Once in a process."""
    desk = Desk(app)
    _pages(desk)
    ui.run_with(app, title="CLM", dark=None, language="en-US", show_welcome_message=False)
    routes: list[BaseRoute] = app.router.routes
    routes[:] = [route for route in routes if getattr(route, "app", None) is not window]
    routes.append(_Window("/", app=Kept(window)))
    window.on_startup(lambda: warm(app))


async def _shown(page: Awaitable[None]) -> None:
    """A page, or the sentence why it cannot be shown."""
    try:
        await page
    except Refused as error:
        with ui.column().classes("clm-main"):
            apology(error)


def _pages(desk: Desk) -> None:
    """A page may take longer than its frame: who looks at it sees that it is on its way."""

    @ui.page("/", response_timeout=_PATIENCE)
    async def _overview(request: Request, page: int = 1) -> None:
        await _shown(overview.overview(desk.session(request), max(1, page)))

    @ui.page("/decisions/{number}", response_timeout=_PATIENCE)
    async def _decision(request: Request, number: int) -> None:
        await _shown(decisions.decision(desk.session(request), number))

    for path, show in _SHOWS.items():
        _page(desk, path, show)


def _page(desk: Desk, path: str, show: Callable[[Session, Request], Awaitable[None]]) -> None:
    @ui.page(path, response_timeout=_PATIENCE)
    async def _any(request: Request) -> None:
        await _shown(show(desk.session(request), request))
