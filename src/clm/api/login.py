"""A key for a session, so that a browser can look at what needs one; and back."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from clm.api.access import COOKIE, OUTCOME
from clm.api.application import application
from clm.api.hosts import front_door
from clm.api.pages import LOGIN, LOGOUT, local_path, login_page
from clm.bootstrap import Application
from clm.core.access import SESSION_LENGTH

router = APIRouter(include_in_schema=False)
App = Annotated[Application, Depends(application)]


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a posted form; none where the body is something else."""
    try:
        return dict(parse_qsl((await request.body()).decode(), max_num_fields=10))
    except ValueError:
        return {}


@router.get(LOGIN)
def form(request: Request) -> HTMLResponse:
    """Ask for a key."""
    after = request.query_params.get("next", "/")
    return HTMLResponse(login_page(request.scope, "This service needs a key.", after=after))


@router.post(LOGIN)
def log_in(request: Request, app: App, fields: Annotated[dict[str, str], Depends(form_fields)]) -> Response:
    """A session for a right key."""
    after = local_path(fields.get("next", "/"))
    key = app.keys.ring().find(fields.get("key", "").strip())
    if key is None:
        page = login_page(request.scope, "That is not a key to this service.", after=after)
        return HTMLResponse(page, 401, {"WWW-Authenticate": 'Bearer realm="clm"'})
    request.scope[OUTCOME] = f"as {key.name}"
    answer = RedirectResponse(request.scope.get("root_path", "") + after, 303)
    answer.set_cookie(
        COOKIE, app.sessions.begin(key), max_age=int(SESSION_LENGTH.total_seconds()),
        path=front_door(request.scope), httponly=True,
        samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post(LOGOUT)
def log_out(request: Request, app: App) -> Response:
    """End the session."""
    token = request.cookies.get(COOKIE)
    if token is not None:
        app.sessions.end(token)
    answer = RedirectResponse(request.scope.get("root_path", "") + LOGIN, 303)
    answer.delete_cookie(
        COOKIE, path=front_door(request.scope), httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer
