"""Which application answers: the service's own, or that of a host's environment."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Request

from clm.bootstrap import Application
from clm.settings import Settings


@cache
def default_application() -> Application:
    """The application of this process's environment, built when first needed."""
    return Application(Settings.load())


def application_of(app: Any) -> Application:
    """What `clm serve` put into its ASGI app, else the default one."""
    found: Application | None = getattr(app.state, "clm", None)
    return found if found is not None else default_application()


def exchange_answers(request: Request) -> None:
    """For what cannot be answered without the exchange. Raises what asking it raises, soon."""
    application_of(request.app).exchange_time()


def application(request: Request) -> Application:
    """The application that answers this request."""
    return application_of(request.app)
