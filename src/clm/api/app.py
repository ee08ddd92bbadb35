"""The service: CLM's routes in an app of their own, with the daily job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from clm.api import clm_routes
from clm.api.errors import problem, problem_of_request
from clm.bootstrap import Application
from clm.core.domain import RunRequest
from clm.core.errors import ClmError, RunInProgress
from clm.jobs.schedule import Schedule

log = structlog.get_logger()


def ask_for_scheduled_run(application: Application) -> None:
    """What a slot of the schedule does: a failure is logged, the next slot comes all the same."""
    try:
        application.supervisor.submit(RunRequest(requested_by="schedule"))
    except RunInProgress as error:
        log.info("slot_skipped", reason=str(error))
    except ClmError as error:
        log.warning("slot_failed", error=str(error))


def create_app(application: Application) -> FastAPI:
    """The ASGI app around `application`, which is closed with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            stack.enter_context(application)
            application.supervisor.tidy()
            if application.settings.schedule != "off":
                slot = partial(ask_for_scheduled_run, application)
                schedule = stack.enter_context(Schedule(application.settings.schedule, slot))
                log.info("scheduled", cron=application.settings.schedule, next=str(schedule.next_run()))
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
    app.add_api_route("/", _docs, include_in_schema=False)
    app.add_api_route("/health/live", _live, tags=["health"])
    _add_error_handlers(app)
    return app


def _docs() -> RedirectResponse:
    return RedirectResponse("/docs")


def _live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


def _add_error_handlers(app: FastAPI) -> None:
    """Problem documents also for what never reaches one of our routes."""

    @app.exception_handler(HTTPException)
    async def http_problem(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def request_problem(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_of_request(error)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        # Its cause goes to the log, not to a stranger.
        log.error("unexpected_error", path=request.url.path, exc_info=error)
        return problem(500, "an unexpected error; the log has its cause", instance=request.url.path)
