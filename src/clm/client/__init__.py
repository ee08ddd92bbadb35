"""A client of the service: `from clm.client import Client`. Needs httpx and nothing of the service itself."""

from clm.client.client import Client
from clm.client.errors import (
    AccessRefused,
    ClientError,
    Conflict,
    NotFound,
    ServiceUnavailable,
    StillRunning,
    TimedOut,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
    WrongInput,
)
from clm.client.records import Decision, ExplainedDecision, Forecast, Progress, Run, Version

__all__ = [
    "AccessRefused",
    "Client",
    "ClientError",
    "Conflict",
    "Decision",
    "ExplainedDecision",
    "Forecast",
    "NotFound",
    "Progress",
    "Run",
    "ServiceUnavailable",
    "StillRunning",
    "TimedOut",
    "TooManyRequests",
    "UnexpectedAnswer",
    "Unreachable",
    "Version",
    "WrongInput",
]
