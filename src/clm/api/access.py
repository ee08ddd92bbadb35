"""Who asks, how often they may, and what is said to who may not."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import Future
from contextlib import suppress

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import Scope

from clm.api.application import application_of
from clm.api.hosts import address_of, at_home, is_loopback, neighbourhood
from clm.bootstrap import Application
from clm.core.access import LOCAL, Caller, KeyRing, Role, stranger
from clm.core.errors import AccessDenied, DatabaseUnavailable
from clm.core.impatient import apart

#: Where the caller of a request is noted; no header gets there.
CALLER = "clm.caller"
#: What a route has to add to the result in the audit trail.
OUTCOME = "clm.outcome"
COOKIE = "clm_session"
LOGIN_ATTEMPTS_PER_MINUTE = 10
#: For forecasts a key that was revoked lets in so long after at most; while the database is silent, so long.
_KEYS_KEPT_SECONDS, _KEYS_REMEMBERED_SECONDS = 1.0, 600.0
#: Seconds the keys are waited for by who asks for a forecast, where others are remembered.
_KEYS_AWAITED_SECONDS = 0.1


class Doorkeeper:
    """One per ASGI app: knows the keys, remembers sessions, counts."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._ring: KeyRing | None = None
        self._read_at = 0.0
        self._reading: Future[KeyRing] | None = None

    def identify(self, connection: HTTPConnection) -> Caller:
        """Who asks, by header, else by session, else by where they sit. Raises DatabaseUnavailable."""
        ring = self._read_ring()
        by_key = self._by_key(connection, ring)
        if by_key is not None:
            return by_key
        token = connection.cookies.get(COOKIE)
        if token is None:
            return stranger(self._no_key_shown(ring))
        sha256 = self.application.sessions.key_of(token)
        key = ring.find_hash(sha256) if sha256 is not None else None
        return Caller(key.name, key.role) if key else stranger("the session is over: log in again")

    def identify_at_once(self, connection: HTTPConnection) -> Caller | None:
        """As `identify`, by keys read within the last second; None where the database has to be asked."""
        if self._ring is None or time.monotonic() - self._read_at > _KEYS_KEPT_SECONDS:
            return None
        return self._by_key(connection, self._ring)

    async def identify_soon(self, connection: HTTPConnection) -> Caller:
        """As `identify`, for who asks for forecasts: who has a key waits for no silent database.

        Raises DatabaseUnavailable.
        """
        known = self.identify_at_once(connection)
        if known is not None:
            return known
        if self._ring is not None:
            if self._reading is None or self._reading.done():
                self._reading = apart(self._read_ring, "clm-keys")
            fresh = asyncio.shield(asyncio.wrap_future(self._reading))
            with suppress(TimeoutError, DatabaseUnavailable):
                await asyncio.wait_for(fresh, _KEYS_AWAITED_SECONDS)
            if time.monotonic() - self._read_at < _KEYS_REMEMBERED_SECONDS:
                known = self._by_key(connection, self._ring)
        # A key that is not remembered may be a new one.
        if known is not None and (known.role is not None or self.identify_at_once(connection) is not None):
            return known
        return await run_in_threadpool(self.identify, connection)

    def _read_ring(self) -> KeyRing:
        ring = self._ring = self.application.keys.ring()
        self._read_at = time.monotonic()
        return ring

    def _by_key(self, connection: HTTPConnection, ring: KeyRing) -> Caller | None:
        """By where they sit, or the key they show; None where only a session can tell."""
        if not ring.closed and self._open(connection.scope):
            return LOCAL
        secret = _presented(connection)
        if secret is None:
            return None
        return _holder(ring, secret) or stranger("the key that was shown is not valid")

    def identify_offline(self, connection: HTTPConnection) -> Caller:
        """As `identify` while the database is away: by the keys known before; there are no sessions then."""
        ring = self._ring or KeyRing(self.application.settings.api_key, closed=True)
        if not ring.closed and self._open(connection.scope):
            return LOCAL
        secret = _presented(connection)
        known = _holder(ring, secret) if secret is not None else None
        return known or stranger("the database is away")

    def seconds_to_wait(self, what: str, who: str, per_minute: int) -> int | None:
        """None where it is counted and goes on; else when to come again. Counts in this process alone."""
        if per_minute == 0:
            return None
        item = RateLimitItemPerMinute(per_minute)
        if self._limiter.hit(item, what, who):
            return None
        return max(1, math.ceil(self._limiter.get_window_stats(item, what, who).reset_time - time.time()))

    def _no_key_shown(self, ring: KeyRing) -> str:
        if ring.closed:
            return "no key was shown"
        why = "nobody is" if self.application.settings.require_key else "only this machine itself is"
        return f"there is no key yet, so {why} let in: make one on it, with `clm keys add NAME --role ROLE`"

    def _open(self, scope: Scope) -> bool:
        settings = self.application.settings
        return not settings.require_key and is_loopback(settings.host) and at_home(scope, settings)


def doorkeeper_of(scope: Scope) -> Doorkeeper:
    """The app's, made with its first request."""
    state = scope["app"].state
    found: Doorkeeper | None = getattr(state, "clm_doorkeeper", None)
    application = application_of(scope["app"])
    if found is None or found.application is not application:
        found = state.clm_doorkeeper = Doorkeeper(application)
    return found


def counted_as(scope: Scope, caller: Caller) -> str:
    """Under what name a caller's requests are counted."""
    return caller.name if caller.role is not None else neighbourhood(address_of(scope))


def denied(caller: Caller, needed: Role) -> AccessDenied:
    """What a caller hears whose role, if any, does not cover the needed one."""
    if caller.role is not None:
        said = f"{caller.name} has the role {caller.role}; this needs the role {needed}"
        return AccessDenied(said, needed, known=True)
    how = f"this needs a key with the role {needed}, as X-API-Key or Authorization: Bearer"
    return AccessDenied(f"{caller.why}; {how}", needed, known=False)


def _holder(ring: KeyRing, secret: str) -> Caller | None:
    key = ring.find(secret)
    return Caller(key.name, key.role) if key else None


def _presented(connection: HTTPConnection) -> str | None:
    header = connection.headers.get("x-api-key")
    if header is not None:
        return header.strip()
    scheme, _, rest = connection.headers.get("authorization", "").partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None
