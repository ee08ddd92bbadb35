"""The service: CLM's routes in an app of their own, with the daily job and the live shadow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from http import HTTPStatus
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from clm.api import clm_routes, health, login, metrics
from clm.api.errors import problem, problem_of, problem_of_request
from clm.api.gate import Gate
from clm.api.openapi import tell_of
from clm.api.proxies import Proxies
from clm.api.shield import KnownHosts, Shield
from clm.bootstrap import Application
from clm.core.errors import ClmError, RunInProgress, SlotTaken
from clm.core.runs import RunKind, RunRequest
from clm.core.watchlist import common_step
from clm.jobs.schedule import Job, Schedule
from clm.logs import logger
from clm.settings import Settings

log = logger(__name__)


#: Old files are put away once a day, after the usual hour of the retraining job.
_RETENTION = "45 3 * * *"


def ask_for_slot(application: Application, kind: RunKind, slot: datetime) -> bool:
    """Whether a slot of the schedule is settled: begun here, or by another replica. False: ask again."""
    try:
        application.supervisor.submit(RunRequest(requested_by="schedule", kind=kind, slot=slot))
    except SlotTaken:
        return True
    except RunInProgress as error:
        log.info("slot_waits", job=str(kind), slot=str(slot), reason=str(error))
        return False
    except ClmError as error:
        log.warning("slot_waits", job=str(kind), slot=str(slot), reason=str(error))
        return False
    return True


def look_after(application: Application) -> None:
    """Whatever died meanwhile is taken up: runs, here or elsewhere, and the live shadow's process."""
    application.supervisor.recover()
    application.live_watch.revive()


def jobs_of(application: Application) -> list[Job]:
    """Job → when → what; each slot is done by one of all replicas."""
    settings = application.settings
    table = {
        RunKind.RETRAIN: settings.schedule,
        RunKind.RETENTION: _RETENTION if settings.keep_versions else "off",
    }
    return [
        Job(
            str(kind), cron, partial(ask_for_slot, application, kind),
            partial(application.runs.newest_slot, kind),
        )
        for kind, cron in table.items()
        if cron != "off"
    ]  # fmt: skip


def create_app(application: Application, window: Callable[[FastAPI], None] | None = None) -> FastAPI:
    """The ASGI app around `application`, which is closed with it.

    window: puts a page at `/`; None: Swagger is shown there.
    """

    # A wrong address is refused before anything begins.
    application.receivers  # noqa: B018

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            stack.enter_context(application)
            settings, first = application.settings, application.watchlist.configured[0]
            if settings.live_shadow:
                application.on_unfit = application.live_watch.tick
            # Also where nothing is scheduled: what a stopped service left undone is taken up at its looks.
            app.state.clm_schedule = Schedule(
                application.data_client(first).server_time,
                lambda: common_step(application.series),
                jobs_of(application),
                on_close=application.live_watch.tick if settings.live_shadow else None,
                on_look=partial(look_after, application),
            )
            stack.enter_context(app.state.clm_schedule)
            stack.enter_context(application.messenger)
            yield

    # Swagger's own files come from the package: the page opens without a way out of the network.
    app = FastAPIOffline(
        title="CLM, the Continuous Learning Manager",
        summary="Keeps crypto price-forecast models alive, and promotes only what can be trusted.",
        version=version("quantum-clm"),
        lifespan=lifespan,
    )
    app.state.clm = application
    app.include_router(clm_routes.router)
    # Before Swagger's: routes are looked for one after the other, and forecasts are asked for most.
    app.router.routes.insert(0, app.router.routes.pop())
    app.include_router(health.router)
    app.include_router(login.router)
    app.include_router(metrics.router)
    if window is None:
        app.add_api_route("/", _docs, include_in_schema=False)
    else:
        window(app)
    tell_of(app, application)
    _add_error_handlers(app)
    _add_middleware(app, application.settings)
    return app


def _docs(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def _add_error_handlers(app: FastAPI) -> None:
    """Problem documents also for what never reaches one of our routes."""

    @app.exception_handler(HTTPException)
    async def http_problem(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _methods(request)
        return problem(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def request_problem(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_of_request(error)

    @app.exception_handler(ClmError)
    async def ours(request: Request, error: ClmError) -> JSONResponse:
        return problem_of(error)


def _methods(request: Request) -> str:
    """All methods of a path; the framework names those of the first route that has it."""
    scope, routes = request.scope, request.app.router.routes
    taken = [
        method
        for method in ("GET", "POST", "DELETE")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join(taken)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """From the inside out: who asks, whose pages may ask, under which name, what each answer carries, and by
    way of which proxy."""
    app.add_middleware(Gate, whole=True)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("X-API-Key", "Authorization", "Content-Type"), expose_headers=("Retry-After",),
        )  # fmt: skip
    app.add_middleware(KnownHosts, settings=settings)
    app.add_middleware(Shield)
    app.state.clm_latency = metrics.latency_of_this_app()
    app.add_middleware(metrics.Latency, seconds=app.state.clm_latency)
    app.add_middleware(Proxies, settings=settings)
