"""Is the process alive, and can it do its work? For whoever starts, watches and balances services.

Probes come every few seconds and from several sides, and must neither wait nor wear anything out: a look is
good for some seconds, every check has a thread of its own and a time limit, and one that hangs is not begun
again.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.types import Scope

from clm.api import schemas
from clm.api.access import doorkeeper_of
from clm.api.application import application_of
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.domain import ModelArtifact, Series
from clm.core.errors import ClmError
from clm.core.impatient import apart
from clm.jobs.schedule import Schedule
from clm.logs import logger
from clm.settings import scheduler_of

log = logger(__name__)
router = APIRouter(prefix="/health", tags=["health"])

#: Seconds: what a look is good for, what the exchange's word is good for, what one check may take.
_KEPT, _EXCHANGE_KEPT, _LIMIT = 3.0, 15.0, 3.0
#: The same of the cluster's, which is a connection of its own.
_CLUSTER_KEPT = 30.0
#: Probes that are answered at once.
_PROBES = 4
#: Seconds after which a schedule that has not looked at the clock is dead; it looks once a minute at least.
_SILENT = 180.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the service needs. reason: a sentence, also where all is well."""

    ok: bool
    reason: str


class Readiness:
    """Looks at everything the service needs. schedule: the one that runs; None where none does."""

    def __init__(self, application: Application, schedule: Callable[[], Schedule | None]) -> None:
        self._application, self._schedule = application, schedule
        self._checks: Mapping[str, Callable[[], Check]] = {
            "database": self._database, "champions": self._champions, "candles": self._candles,
            "scheduler": self._scheduler, "live_shadow": self._live_shadow, "disk": self._disk,
        }  # fmt: skip
        if scheduler_of(application.settings) is not None:
            self._checks = {**self._checks, "cluster": self._cluster}
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._asked: dict[str, Future[Check]] = {}
        self._last: tuple[float, dict[str, Check]] | None = None
        self._exchange: tuple[float, Check] | None = None
        self._workers: tuple[float, Check] | None = None
        #: The files that champions have been loaded from.
        self._loaded: dict[tuple[Series, str], tuple[object, ...]] = {}

    def look(self) -> dict[str, Check]:
        """Every check by its name, at most a few seconds old; answers within a few seconds."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _KEPT:
                found = self._look()
                self._last = (time.monotonic(), found)
            return self._last[1]

    def _look(self) -> dict[str, Check]:
        for name, check in self._checks.items():
            if name not in self._asked:
                self._asked[name] = apart(partial(_made, check), "readiness")
        wait_for(self._asked.values(), timeout=_LIMIT)
        found = {}
        for name in self._checks:
            if self._asked[name].done():
                found[name] = self._asked.pop(name).result()
            else:
                found[name] = Check(False, f"no answer within {_LIMIT:.0f} seconds")
        return found

    def _database(self) -> Check:
        self._application.runs.latest()
        return Check(True, "the database answers")

    def _champions(self) -> Check:
        application, registry = self._application, self._application.registry
        found = [
            champion
            for series in application.series
            for model_type in application.models_of(series)
            if (champion := registry.for_series(series).get_active(model_type)) is not None
        ]
        for champion in found:
            self._load(champion)
        return Check(True, f"{len(found)} champions load" if found else "there is no champion yet")

    def _load(self, champion: ModelArtifact) -> None:
        """Raises where a champion's file is not what it should be; reads it only when it is another one."""
        registry, place = self._application.registry, (champion.series, champion.model_type)
        file = (champion.version, champion.artifact_sha256, registry.upkeep.stamp(champion))
        if self._loaded.get(place) != file:
            registry.load_model(champion)
            self._loaded[place] = file

    def _candles(self) -> Check:
        application, now = self._application, datetime.now(UTC)
        closes = {series: application.newest_stored(series) for series in application.series}
        # An exchange that is played back has its own time: then only itself can tell.
        if all(
            close is not None and abs(now - close) <= 2 * series.step + timedelta(minutes=1)
            for series, close in closes.items()
        ):
            oldest = min(close for close in closes.values() if close is not None)
            said = f"the newest stored candles close at {oldest:%Y-%m-%d %H:%M} UTC"
            why = application.weight_used()["why"]
            return Check(True, f"{said}; {why}" if why else said)
        if self._exchange is None or time.monotonic() - self._exchange[0] > _EXCHANGE_KEPT:
            self._exchange = (time.monotonic(), self._ping())
        return self._exchange[1]

    def _ping(self) -> Check:
        try:
            self._application.ping_exchange(_LIMIT / 2)
        except ClmError as error:
            return Check(False, f"there are no fresh candles in the store, and {error}")
        return Check(True, "the exchange answers")

    def _scheduler(self) -> Check:
        schedule, now = self._schedule(), time.monotonic()
        if schedule is None:
            return Check(True, "off: this process keeps no schedule")
        if schedule.looked_at is None and now - self._began < _SILENT:
            return Check(True, "the schedule has just begun")
        silent = now - (schedule.looked_at or self._began)
        said = f"the schedule looked at the exchange's clock {silent:.0f} seconds ago"
        return Check(silent < _SILENT, said)

    def _cluster(self) -> Check:
        if self._workers is None or time.monotonic() - self._workers[0] > _CLUSTER_KEPT:
            why = self._application.cluster_lacks(_LIMIT)
            self._workers = (time.monotonic(), Check(why is None, why or "the cluster has workers"))
        return self._workers[1]

    def _live_shadow(self) -> Check:
        if not self._application.settings.live_shadow:
            return Check(True, "off by CLM_LIVE_SHADOW")
        watch = self._application.live_watch
        if watch.exit_code is not None:
            return Check(False, f"the live shadow's process ended with exit code {watch.exit_code}")
        said = "the live shadow's process is alive" if watch.pid else "begins with the first candle close"
        return Check(True, said)

    def _disk(self) -> Check:
        least = self._application.settings.min_free_mb
        if not least:
            return Check(True, "not looked at: CLM_MIN_FREE_MB is 0")
        for folder in self._application.folders():
            while not folder.exists():
                folder = folder.parent
            free = shutil.disk_usage(folder).free / 1e6
            if free < least:
                return Check(False, f"{free:,.0f} MB are free in {folder}, less than {least:,.0f} MB")
        return Check(True, f"at least {least:,.0f} MB are free in every folder")


def _made(check: Callable[[], Check]) -> Check:
    """What a check comes to; an error of ours is its reason."""
    try:
        return check()
    except (ClmError, OSError) as error:
        return Check(False, str(error))
    except Exception as error:
        # A bug is no reason to leave a probe without an answer.
        log.exception("check_failed")
        return Check(False, f"an unexpected {type(error).__name__}; the log has its cause")


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers, also while all its threads wait for something."""
    return {"status": "alive"}


@router.get(
    "/ready",
    response_model=schemas.ReadyView,
    responses={503: {"model": schemas.ReadyView, "description": "it cannot; `checks` say why"}},
)
async def ready(request: Request) -> JSONResponse:
    """The service can do its work: each thing it needs, with a sentence; strangers hear the status alone."""
    # In threads of its own: those of the routes may all be waiting for what is not well.
    threads = getattr(request.app.state, "clm_probes", None)
    if threads is None:
        threads = request.app.state.clm_probes = CapacityLimiter(_PROBES)
    return await to_thread.run_sync(_ready, request, limiter=threads)


def _ready(request: Request) -> JSONResponse:
    checks = readiness_of(request.scope).look()
    keeper = doorkeeper_of(request.scope)
    try:
        caller = keeper.identify(request) if checks["database"].ok else keeper.identify_offline(request)
    except ClmError:
        # It has gone away since it was looked at.
        caller = keeper.identify_offline(request)
    well = all(check.ok for check in checks.values())
    answer: dict[str, Any] = {"status": "ready" if well else "not ready"}
    if caller.may(Role.READ):
        answer["checks"] = {name: {"ok": c.ok, "reason": c.reason} for name, c in checks.items()}
    return JSONResponse(answer, 200 if well else 503)


def readiness_of(scope: Scope) -> Readiness:
    """The app's, made with its first probe."""
    state = scope["app"].state
    found: Readiness | None = getattr(state, "clm_readiness", None)
    if found is None:
        found = state.clm_readiness = Readiness(
            application_of(scope["app"]), lambda: getattr(state, "clm_schedule", None)
        )
    return found
