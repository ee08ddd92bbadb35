"""Every error of the client.

    ClientError
    ├── AccessRefused        401, 403: no key, a wrong one, or one whose role does not cover it
    ├── NotFound             404: no such run, version, decision, experiment
    ├── Conflict             409: the state of the world forbids it; `run_id` names a run in progress
    ├── WrongInput           422: `detail` names the field, the value and what is allowed
    ├── TooManyRequests      429: come again in `retry_after` seconds
    ├── ServiceUnavailable   503: the database or the exchange does not answer; the same may succeed later
    ├── UnexpectedAnswer     an answer, but none that a CLM service gives
    ├── Unreachable          no answer at all
    │   └── TimedOut             none in time
    └── StillRunning         the run that was waited for goes on

A status without a class of its own (400, 413, 500, 502) is a plain `ClientError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clm.client.records import Run


class ClientError(Exception):
    """Root of the tree. `str(error)` is a sentence fit to be shown to a user.

    status: of the HTTP answer; None where there was none. title, detail, kind: of the problem document, kind
    being its `type` such as `urn:clm:error:run-in-progress`. retry_after: seconds to wait, where the service
    said so. members: all fields of the problem document.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        title: str = "",
        kind: str = "about:blank",
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}" if status is not None else detail)
        self.detail = detail
        self.status = status
        self.title = title
        self.kind = kind
        self.retry_after = retry_after
        self.members: Mapping[str, Any] = members or {}


class AccessRefused(ClientError):
    """401: a key is needed, or this one is none; 403: its role does not cover this."""

    @property
    def role_needed(self) -> str | None:
        """read, operate or admin; None where it is not a matter of roles."""
        return self.members.get("role_needed")


class NotFound(ClientError):
    """404: there is no such thing, or `url` leads to something else than a CLM service."""


class Conflict(ClientError):
    """409: the request is sound, the present state forbids it."""

    @property
    def run_id(self) -> str | None:
        """The run in progress, where that is what forbids it."""
        return self.members.get("run_id")


class WrongInput(ClientError):
    """422: a field is wrong; `detail` says which, and what is allowed."""


class TooManyRequests(ClientError):
    """429: too many requests that change something; nothing was done."""


class ServiceUnavailable(ClientError):
    """503: the service cannot reach its database or the exchange."""


class UnexpectedAnswer(ClientError):
    """A redirect, a web page, JSON without the fields it needs: is `url` that of a CLM service?"""


class Unreachable(ClientError):
    """No answer. What was asked for by anything but a GET may have been done all the same."""


class TimedOut(Unreachable):
    """No answer within `timeout` seconds."""


class StillRunning(ClientError):
    """A run went on for longer than one wanted to wait. run: as it was last seen; nothing was cancelled."""

    def __init__(self, detail: str, run: Run | None) -> None:
        super().__init__(detail)
        self.run = run


#: HTTP status → what is raised; others: ClientError.
BY_STATUS: Mapping[int, type[ClientError]] = {
    401: AccessRefused, 403: AccessRefused, 404: NotFound, 409: Conflict, 422: WrongInput,
    429: TooManyRequests, 503: ServiceUnavailable,
}  # fmt: skip
