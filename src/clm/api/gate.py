"""What stands before the routes: who asks is found out once, and whatever changes something is on record.

Pure ASGI. The service has it around the whole app; a route has it around itself as well, which does nothing
inside the service, and everything inside a host application that only mounted the router.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clm.api.access import (
    CALLER,
    LOGIN_ATTEMPTS_PER_MINUTE,
    OUTCOME,
    Doorkeeper,
    counted_as,
    denied,
    doorkeeper_of,
)
from clm.api.errors import problem, problem_of
from clm.api.hosts import address_of, cross_site, neighbourhood, path_of
from clm.api.pages import LOGIN, LOGOUT, login_page, wants_a_page
from clm.core.access import Caller, Role, stranger
from clm.core.audit import Deed
from clm.core.errors import ClmError
from clm.logs import logger

log = logger(__name__)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Nobody is asked who they are; what is told to strangers there is for strangers.
_OPEN = frozenset({"/health/live", "/health/ready", LOGIN})
#: Posted to, but changing nothing: a forecast is a question with a long address.
_ASKING = "/predict"
#: Below here every route asks for its own role.
_OURS = "/api/clm/"
_LOGIN_KB = 8
#: Of an answer, looked through for what came of it; of a body that is too long, read and thrown away, so that
#: its sender hears the answer.
_LOOKED_THROUGH, _DRAINED = 65_536, 16_777_216


class _TooLong(Exception):
    """The body of a request is longer than allowed."""


class _Gone(Exception):
    """Who asked has hung up."""


class Gate:
    """whole: around a whole app, of which strangers see nothing but what is listed above."""

    def __init__(self, app: ASGIApp, *, whole: bool = False) -> None:
        self._app, self._whole = app, whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or CALLER in scope:
            return await self._app(scope, receive, send)
        path = path_of(scope)
        # A host application may have mounted the routes below a prefix of its own.
        asking = path.endswith(_ASKING)
        reads = asking or scope.get("method", "GET") in SAFE
        if self._whole and reads and path in _OPEN:
            scope[CALLER] = stranger("nobody was asked who they are")
            return await self._app(scope, receive, send)
        keeper = doorkeeper_of(scope)
        try:
            connection = HTTPConnection(scope)
            # Who asks for forecasts does so often: a hop to the thread pool costs more than a forecast.
            caller = await (
                keeper.identify_soon(connection) if asking else run_in_threadpool(keeper.identify, connection)
            )
            scope[CALLER] = caller
        except ClmError as error:
            return await problem_of(error)(scope, receive, send)
        shut = self._whole and caller.role is None and not path.startswith(_OURS)
        if scope["type"] == "websocket":
            # Browsers let any page open one: who asks is looked at as for a change.
            if shut or cross_site(scope, keeper.application.settings):
                return await send({"type": "websocket.close", "code": 1008})
            return await self._app(scope, receive, send)
        if reads:
            if asking and not shut:
                return await self._asked(keeper, scope, receive, send)
            answer = _shut(scope, caller) if shut else self._app
            return await answer(scope, receive, send)
        refusal = _too_often(keeper, scope, caller, path) or _foreign(keeper, scope)
        if refusal is None and shut and path not in (LOGIN, LOGOUT):
            refusal = _shut(scope, caller)
        return await self._on_record(keeper, caller, refusal, scope, receive, send)

    async def _asked(self, keeper: Doorkeeper, scope: Scope, receive: Receive, send: Send) -> None:
        """A question with a body, which is not to be endless."""
        if scope.get("method", "GET") in SAFE:
            return await self._app(scope, receive, send)
        limit = keeper.application.settings.max_body_kb
        try:
            body = await _read(scope, receive, limit * 1024)
        except _Gone:
            return None
        except _TooLong:
            return await _too_long(limit)(scope, receive, send)
        return await self._app(scope, _replay(body, receive), send)

    async def _on_record(
        self,
        keeper: Doorkeeper,
        caller: Caller,
        refusal: Response | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """The deed: its row first, then the deed or its refusal, then the result, then the answer."""
        again, body = receive, b""
        longest = keeper.application.settings.max_body_kb
        if path_of(scope) == LOGIN:
            # From anybody: a name, a key and where to go next.
            longest = min(longest, _LOGIN_KB)
        if refusal is None and (caller.role is not None or path_of(scope) == LOGIN):
            try:
                body = await _read(scope, receive, longest * 1024)
            except _Gone:
                return None
            except _TooLong:
                refusal = _too_long(longest)
            again = _replay(body, receive)
        if refusal is not None and refusal.status_code == 429 and not _worth_a_row(keeper, scope, caller):
            return await refusal(scope, receive, send)
        audit = keeper.application.audit
        try:
            number = await run_in_threadpool(audit.begin, _deed(scope, caller, body))
        except ClmError as error:
            said = f"the audit trail cannot be written, so nothing was done: {error}"
            answer = problem(503, said, kind="urn:clm:error:no-audit-trail")
            return await answer(scope, receive, send)
        witness = _Witness(send)
        try:
            await (refusal or self._app)(scope, again, witness)
        except Exception as error:
            await _end(keeper, number, f"500 {type(error).__name__}")
            raise
        await _end(keeper, number, " ".join(filter(None, (witness.result(), scope.get(OUTCOME)))))
        await witness.let_go()
        return None


class _Witness:
    """Passes an answer on, remembers it, and keeps its last part back until the trail is complete."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status, self._seen = 500, b""
        self._last: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            if len(self._seen) <= _LOOKED_THROUGH:
                self._seen += message.get("body", b"")
            if not message.get("more_body", False):
                self._last = message
                return
        await self._send(message)

    async def let_go(self) -> None:
        """The last part, if the answer came to one."""
        if self._last is not None:
            await self._send(self._last)

    def result(self) -> str:
        """The status, and the run, version or experiment the answer names."""
        found, names = _json(self._seen), ("run_id", "version", "experiment_id")
        named = [f"{name}={found[name]}" for name in names if isinstance(found.get(name), str)]
        return " ".join((str(self._status), *named))


async def _end(keeper: Doorkeeper, number: int, result: str) -> None:
    try:
        await run_in_threadpool(keeper.application.audit.end, number, result)
    except ClmError as error:
        # The row that says what was begun is there; how it ended is in the log.
        log.warning("audit_result_not_written", row=number, result=result, error=str(error))


def _deed(scope: Scope, caller: Caller, body: bytes) -> Deed:
    detail: dict[str, Any] = {}
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    if query:
        detail["query"] = dict(query[:50])
    if body:
        detail["body"] = _json(body) or {"bytes": len(body)}
    # The path as it was sent: percent-encoded, so that no database stumbles over it.
    raw: bytes = scope.get("raw_path") or path_of(scope).encode("ascii", "backslashreplace")
    # The same deed reads the same, whatever prefix a proxy has it below.
    raw = raw.removeprefix(scope.get("root_path", "").encode())
    action = f"{scope['method']} {raw.decode('latin-1').partition('?')[0]}"
    return Deed(
        actor=caller.name, role=caller.role or "", origin=address_of(scope), action=action, detail=detail
    )


def _json(raw: bytes) -> dict[str, Any]:
    """An object, else an empty one."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises _TooLong, also where its length was never declared; _Gone."""
    declared = Headers(scope=scope).get("content-length", "0")
    too_long, size = declared.isdigit() and int(declared) > limit, 0
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        too_long = too_long or size > limit
        if too_long:
            parts.clear()
        else:
            parts.append(part)
        if size > limit + _DRAINED or not message.get("more_body", False):
            break
    if too_long:
        raise _TooLong
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive`, the body that was read already coming first."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _too_long(limit_kb: int) -> Response:
    return problem(413, f"the body is longer than {limit_kb} kB", kind="urn:clm:error:body-too-long")


def _shut(scope: Scope, caller: Caller) -> Response:
    """What a stranger gets: a browser the form that asks for a key, anybody else a problem document."""
    answer = problem_of(denied(caller, Role.READ))
    if wants_a_page(scope):
        page = login_page(scope, f"{caller.why[:1].upper()}{caller.why[1:]}.", after=path_of(scope))
        return Response(
            page, answer.status_code, {"WWW-Authenticate": answer.headers["www-authenticate"]}, "text/html"
        )
    return answer


def _too_often(keeper: Doorkeeper, scope: Scope, caller: Caller, path: str) -> Response | None:
    address = neighbourhood(address_of(scope))
    wait = keeper.seconds_to_wait("login", address, LOGIN_ATTEMPTS_PER_MINUTE) if path == LOGIN else None
    per_minute = keeper.application.settings.rate_limit_per_minute
    wait = wait or keeper.seconds_to_wait("change", counted_as(scope, caller), per_minute)
    if wait is None:
        return None
    said = f"too many requests that change something: come again in {wait} s"
    return problem(429, said, kind="urn:clm:error:too-many-requests", headers={"Retry-After": str(wait)})


def _worth_a_row(keeper: Doorkeeper, scope: Scope, caller: Caller) -> bool:
    """One row a minute says that a caller goes on after a 429; a row each would let anybody fill the disk."""
    return keeper.seconds_to_wait("refused", counted_as(scope, caller), 1) is None


def _foreign(keeper: Doorkeeper, scope: Scope) -> Response | None:
    found = cross_site(scope, keeper.application.settings)
    if found is None:
        return None
    said = f"another web page asks for this ({found}); CLM_CORS_ORIGINS lists those that may"
    return problem(403, said, kind="urn:clm:error:cross-site")
