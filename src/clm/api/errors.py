"""Ours → HTTP, in one place: every error answers as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from clm.core import errors
from clm.core.audit import without_secrets
from clm.core.wire import jsonable

MEDIA_TYPE = "application/problem+json"
#: Wrong fields that are named in one answer; whoever sends thousands knows by then.
_MOST_SHOWN = 20

#: Letters of what was given that a refusal repeats.
_LONGEST_VALUE = 2000

#: First match wins; the order goes from the special to the general.
STATUS: tuple[tuple[type[errors.ClmError], HTTPStatus], ...] = (
    (errors.BadInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.InsufficientData, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.AccessDenied, HTTPStatus.UNAUTHORIZED),
    (errors.Conflict, HTTPStatus.CONFLICT),
    # A version whose file was put away or is damaged: nothing is wrong with the service.
    (errors.ArtifactMissing, HTTPStatus.CONFLICT),
    (errors.ArtifactCorrupt, HTTPStatus.CONFLICT),
    (errors.UnreadableHere, HTTPStatus.CONFLICT),
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
    return Problem(body, status, headers=dict(headers or {}))


class Problem(JSONResponse):
    """A text may be wrong because no UTF-8 can say it: half a surrogate pair is told as `\\ud800`."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def problem_of(error: errors.ClmError) -> JSONResponse:
    """`error` as a problem document."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case errors.AccessDenied():
            members = {"role_needed": str(error.needed)}
            if error.known:
                status = HTTPStatus.FORBIDDEN
            else:
                headers = {"WWW-Authenticate": 'Bearer realm="clm"'}
        case errors.BadInput():
            members = {"field": error.field, "value": _plain(error.value), "allowed": error.allowed}
        case errors.RunInProgress():
            members = {"run_id": error.run_id}
        case errors.ExperimentOpen():
            members = {"experiment_id": error.experiment_id}
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
            "value": _plain(without_secrets(item["loc"][-1], item.get("input"))),
            "allowed": str(item["msg"]),
        }
        for item in error.errors()[:_MOST_SHOWN]
    ]
    detail = "; ".join(f"{item['field']}: {item['allowed']}" for item in found)
    return problem(422, detail, kind="urn:clm:error:bad-request", errors=found)


def _plain(value: object) -> Any:
    """As JSON; what is long is cut: an answer is not to be many times as long as what was asked."""
    if isinstance(value, bytes):
        # A body that is no JSON: what in it may be a secret has no name.
        return f"{len(value):,} bytes"
    try:
        plain = jsonable(value)
        said = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        # Of a kind, or so far off, that JSON has no form for it.
        plain = said = repr(value)
    return plain if len(said) <= _LONGEST_VALUE else f"{said[:_LONGEST_VALUE]}…"
