"""How every route of ours behaves, also inside a host application: guarded, its errors problem documents."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from clm.api import schemas
from clm.api.access import CALLER, denied
from clm.api.errors import MEDIA_TYPE, problem, problem_of, problem_of_request
from clm.api.gate import SAFE, Gate
from clm.core.access import Role
from clm.core.errors import ClmError
from clm.core.impatient import somebody_waits

_ROLE = "x-clm-role"


def documented_problem(description: str, example: dict[str, Any]) -> dict[str, Any]:
    """How Swagger shows an answer that is a problem document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {MEDIA_TYPE: {"schema": schema, "example": example}}
    return {"model": schemas.Problem, "description": description, "content": content}


def needs(role: Role) -> dict[str, Any]:
    """The role a route asks for, for its `openapi_extra`. Without it: read for a GET, admin for the rest."""
    return {_ROLE: str(role)}


#: Of a route that asks the exchange.
BAD_EXCHANGE = documented_problem("the exchange's answer makes no sense", schemas.BAD_EXCHANGE)


class ProblemRoute(APIRoute):
    """Stands behind the gate, asks for its role before it reads anything, answers problem documents.

    In Swagger a route is summed up by the first line of its docstring, and its role is told.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        said = inspect.cleandoc(endpoint.__doc__ or "")
        if options.get("summary") is None and said:
            options["summary"] = said.splitlines()[0].rstrip(".")
        reads = SAFE.issuperset(options.get("methods") or ("GET",))
        extra = options.get("openapi_extra") or {}
        self.role = Role(extra.get(_ROLE, Role.READ if reads else Role.ADMIN))
        options["openapi_extra"] = {**extra, **needs(self.role)}
        if options.get("description") is None:
            options["description"] = f"{said}\n\nNeeds the role `{self.role}`."
        options["responses"] = {**_refusals(reads), **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Gate(super().handle)(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self._guarded(super().get_route_handler())

    def _guarded(
        self, answer: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handler(request: Request) -> Response:
            try:
                caller = request.scope[CALLER]
                if not caller.may(self.role):
                    raise denied(caller, self.role)
                with somebody_waits():
                    return await answer(request)
            except ClmError as error:
                return problem_of(error)
            except RequestValidationError as error:
                return problem_of_request(error)
            except HTTPException as error:
                # A body that cannot be decoded at all.
                return problem(error.status_code, str(error.detail), headers=error.headers)

        return handler


class ReadByHand(ProblemRoute):
    """Whose endpoint takes the request as it is and answers a response: the framework's reading costs more
    than a forecast.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self._guarded(self.endpoint)


def _refusals(reads: bool) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {
        400: documented_problem(
            "the Host header names another service, or the body cannot be decoded", schemas.UNKNOWN_HOST
        ),
        401: documented_problem("a key is needed; says with which role", schemas.NO_KEY),
        403: documented_problem("the key's role does not cover this", schemas.WRONG_ROLE),
        422: documented_problem("a field is wrong; says which, and what is allowed", schemas.WRONG_FIELD),
        503: documented_problem("the database or the exchange does not answer; try again", schemas.AWAY),
    }
    if not reads:
        found[413] = documented_problem("the body is too long", schemas.TOO_LONG)
        found[429] = documented_problem("too often; Retry-After says when to come again", schemas.TOO_OFTEN)
    return found
