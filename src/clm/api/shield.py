"""What every answer of the service carries, and which names it answers to. Pure ASGI."""

from __future__ import annotations

from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clm.api.errors import problem
from clm.api.hosts import known_host, path_of
from clm.logs import logger
from clm.settings import Settings

log = logger(__name__)

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
#: Swagger and ReDoc start from a script in their page, style themselves as they go and carry pictures along.
_DOCS = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DOCS_PATHS = ("/docs", "/redoc")
_STATIC = "/static-offline-docs/"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send forms with Origin: null, which is refused.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Shield:
    """Headers for every answer; and an answer where there is a bug, its cause kept for the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path, begun = path_of(scope), False

        async def shielded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                # What a route says of its own answer stands.
                own = {name.lower() for name, _ in message["headers"]}
                added = [pair for pair in _headers(path) if pair[0] not in own]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self._app(scope, receive, shielded)
        except Exception:
            log.exception("unexpected_error", path=path)
            if begun:
                raise
            answer = problem(500, "an unexpected error; the log has its cause", instance=path)
            await answer(scope, receive, shielded)
        return None


class KnownHosts:
    """Refuses requests under a name that is not this service's; see `clm.api.hosts`.

    Probes name their target by whatever address they know, and are told no more than a stranger.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        probe = scope["type"] == "http" and path_of(scope).startswith("/health/")
        if scope["type"] == "lifespan" or probe or known_host(scope, self._settings):
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        said = "this service does not answer to the name in the Host header; CLM_ALLOWED_HOSTS lists more"
        return await problem(400, said, kind="urn:clm:error:unknown-host")(scope, receive, send)


def _headers(path: str) -> tuple[tuple[bytes, bytes], ...]:
    return _raw(path in _DOCS_PATHS, path.startswith(_STATIC))


@cache
def _raw(docs: bool, static: bool) -> tuple[tuple[bytes, bytes], ...]:
    found = {**_ALWAYS, "Content-Security-Policy": _DOCS if docs else _NOTHING}
    if not static:
        found["Cache-Control"] = "no-store"
    return tuple((name.lower().encode(), value.encode()) for name, value in found.items())
