"""Logging, set up once by an entrance (service, worker, command line), never at import."""

from __future__ import annotations

import logging
import sys

import stamina
import structlog
from stamina.instrumentation import RetryDetails

from clm.core.alert import Alert

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logging(level: str = "info", fmt: str = "console") -> None:
    """Log lines to standard error, times in UTC; standard output stays for results."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(_LEVELS[level], logging.WARNING),
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )
    stamina.instrumentation.set_on_retry_hooks([_say_retry])


def _say_retry(details: RetryDetails) -> None:
    """One line a reader understands, instead of the wrapped call's internals."""
    structlog.get_logger().warning(
        "trying_again", cause=str(details.caused_by), attempt=details.retry_num + 1,
        wait_seconds=round(details.wait_for, 1),
    )  # fmt: skip


def log_alert(alert: Alert) -> None:
    """Where alerts go unless somebody listens: a warning in the log."""
    structlog.get_logger().warning(
        "alert",
        kind=alert.kind,
        series=str(alert.series or ""),
        model=alert.model_type,
        message=alert.message,
    )
