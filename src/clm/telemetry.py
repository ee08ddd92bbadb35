"""Logging, set up once by an entrance (service, worker, command line), never at import.

Every line goes to standard error and to the log file. A line that belongs to a run names it, and the series
and the model it is about (`clm.core.ambit`). No line holds a secret.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import stamina
import structlog
from concurrent_log_handler import ConcurrentRotatingFileHandler
from stamina.instrumentation import RetryDetails

from clm.core.alert import Alert
from clm.core.text import without_secrets
from clm.logs import BEFORE, as_record, logger

log = logger(__name__)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: A full file becomes clm.log.1, and so on; the oldest goes.
_FULL_BYTES, _KEPT = 10_000_000, 5


def set_up_logging(
    level: str = "info",
    fmt: str = "console",
    file: str = "",
    secrets: Sequence[str] = (),
    *,
    beside_bars: bool = False,
) -> None:
    """Log lines to standard error and `file`, times in UTC; standard output stays for results.

    file: empty for none. secrets: texts that no line may hold, besides what looks like one.

    beside_bars: a terminal shows warnings only, where there is a file for the rest: lines would tear the
    bars. Called again, what it is told then holds.
    """
    least = _LEVELS[level]
    shared = list(BEFORE)
    # For plug-ins that speak through structlog itself.
    structlog.configure(
        processors=[*shared, as_record],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *names: logging.getLogger("clm"),
        cache_logger_on_first_use=False,
    )
    handlers: list[logging.Handler] = [_Screen(sys.stderr)]
    if beside_bars and sys.stderr.isatty() and file:
        handlers[0].setLevel(logging.WARNING)
    if file:
        handlers.append(_LogFile(Path(file)))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Screen | _LogFile)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        colours = isinstance(handler, _Screen) and sys.stderr.isatty()
        handler.setFormatter(_Formatter(fmt, shared, secrets, colours))
        root.addHandler(handler)
    # Libraries speak up from warnings on.
    root.setLevel(max(least, logging.WARNING))
    logging.getLogger("clm").setLevel(least)
    stamina.instrumentation.set_on_retry_hooks([_say_retry])


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """A line, ours or a library's, in the chosen format; secrets read `***`."""

    def __init__(
        self, fmt: str, shared: Sequence[structlog.typing.Processor], secrets: Sequence[str], colours: bool
    ) -> None:
        last: list[structlog.typing.Processor] = (
            [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
            if fmt == "json"
            # Plain: where Rich is installed, the default shows every frame's variables, keys among them.
            else [
                structlog.dev.ConsoleRenderer(
                    colors=colours, exception_formatter=structlog.dev.plain_traceback
                )
            ]
        )
        super().__init__(
            foreign_pre_chain=list(shared), processors=[self.remove_processors_meta, *last]
        )  # fmt: skip
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record), self._secrets)


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]  # mypy and the interpreter disagree
    """Standard error."""


class _LogFile(ConcurrentRotatingFileHandler):
    """A file that several processes write to, whole lines at a time, and that any of them may rotate.

    Where it cannot be written, that is said once, until it can be again; nothing is stopped by it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_FULL_BYTES, backupCount=_KEPT, encoding="utf-8")
        self._failing = False

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        with suppress(OSError):
            # Where it cannot be made, opening the file in it says why.
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        super().emit(record)
        self._failing = self._failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # as the library calls it
        self._failed = True
        # What could not be written is not tried again with the next line: that would be half a line first.
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()
        if not self._failing:
            error = sys.exception()
            cause = error.strerror if isinstance(error, OSError) else error
            print(  # noqa: T201  # the log itself is what does not work
                f"CLM_LOG_FILE: {self.baseFilename} cannot be written ({cause}); log lines go to standard "
                "error only until it can",
                file=sys.stderr,
            )

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def _say_retry(details: RetryDetails) -> None:
    """One line a reader understands, instead of the wrapped call's internals."""
    log.warning(
        "trying_again", cause=str(details.caused_by), attempt=details.retry_num + 1,
        wait_seconds=round(details.wait_for, 1),
    )  # fmt: skip


def log_alert(alert: Alert) -> None:
    """Where alerts go unless somebody listens: a warning in the log."""
    log.warning(
        "alert",
        kind=alert.kind,
        series=str(alert.series or ""),
        model=alert.model_type,
        message=alert.message,
    )
