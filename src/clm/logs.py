"""CLM's own log lines: records of Python's `logging`, under the name of the module that writes them.

A host application that has set up logging of its own gets them like anybody's; how CLM's own processes show
them, `clm.telemetry` says.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog

from clm.core import ambit
from clm.core.text import without_secrets

#: How a line of CLM's is told from a library's: `grep "CLM"` finds it.
MARK = "CLM"
#: What a record carries in places of its own.
_ELSEWHERE = frozenset({"event", "level", "timestamp", "logger", "exc_info", "stack_info"})


class Line(dict[str, Any]):
    """An event and its fields; as text, for who formats records otherwise than CLM, one line."""

    def __str__(self) -> str:
        fields = " ".join(f"{name}={value}" for name, value in self.items() if name not in _ELSEWHERE)
        return without_secrets(f"{MARK} {self.get('event', '')} {fields}".rstrip(), ())


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Of a module. What it says belongs to whatever is being done where it says so (`clm.core.ambit`)."""
    made: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *BEFORE, as_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return made


def _names(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Whose line it is, and what is being done where it is written; what the line itself says stands."""
    record: logging.LogRecord | None = event.get("_record")
    return {"logger": MARK if record is None else record.name, **ambit.names(), **event}


def as_record(
    logger: object, method: str, event: structlog.typing.EventDict
) -> tuple[tuple[Line], Mapping[str, Any]]:
    """What `logging` is handed: structlog's formatter finds the fields, any other the text."""
    more: dict[str, Any] = {"extra": {"_logger": logger, "_name": method}}
    if event.get("exc_info"):
        more["exc_info"] = event["exc_info"]
    return (Line(event),), more


#: What is added to every line of CLM's.
BEFORE: tuple[structlog.typing.Processor, ...] = (
    _names,
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
