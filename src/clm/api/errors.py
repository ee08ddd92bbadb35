"""Ours → HTTP, in one place: every error answers as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from clm.core import errors
from clm.core.wire import jsonable

MEDIA_TYPE = "application/problem+json"

#: First match wins; the order goes from the special to the general.
STATUS: tuple[tuple[type[errors.ClmError], HTTPStatus], ...] = (
    (errors.BadInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.InsufficientData, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.InvalidCandles, HTTPStatus.BAD_GATEWAY),
    (errors.ExchangeRejected, HTTPStatus.BAD_GATEWAY),
    (errors.TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.ClmError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def problem(
    status: int,
    detail: str,
    *,
    kind: str = "about:blank",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """A problem document; `members` are its extra fields."""
    body = {"type": kind, "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    return JSONResponse(body, status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def problem_of(error: errors.ClmError) -> JSONResponse:
    """`error` as a problem document."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case errors.BadInput():
            members = {"field": error.field, "value": _plain(error.value), "allowed": error.allowed}
        case errors.RunInProgress():
            members = {"run_id": error.run_id}
        case errors.InvalidCandles():
            members = {"rows": list(error.rows[:100])}
        case errors.RateLimited() if error.retry_after is not None:
            headers = {"Retry-After": str(max(1, round(error.retry_after)))}
        case _:
            pass
    return problem(status, str(error), kind=f"urn:clm:error:{name}", headers=headers, **members)


def problem_of_request(error: RequestValidationError) -> JSONResponse:
    """What FastAPI found wrong with a request: each field, the value given, what is allowed."""
    found = [
        {
            "field": ".".join(str(part) for part in item["loc"]),
            "value": _plain(item.get("input")),
            "allowed": str(item["msg"]),
        }
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['field']}: {item['allowed']}" for item in found)
    return problem(422, detail, kind="urn:clm:error:bad-request", errors=found)


def _plain(value: object) -> Any:
    try:
        return jsonable(value)
    except TypeError:
        return repr(value)


class ProblemRoute(APIRoute):
    """Answers problem documents by itself, so that it does so inside a host application as well.

    In Swagger a route is summed up by the first line of its docstring.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        lines = (endpoint.__doc__ or "").strip().splitlines()
        if options.get("summary") is None and lines:
            options["summary"] = lines[0].rstrip(".")
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await answer(request)
            except errors.ClmError as error:
                return problem_of(error)
            except RequestValidationError as error:
                return problem_of_request(error)

        return handler
