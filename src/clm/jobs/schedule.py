"""The daily job: APScheduler fires, the callable it fires only asks for a run; nothing trains here."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from clm.core.errors import InvalidSetting

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: A slot missed by less than this (a busy or sleeping machine) is still run, once.
_MISFIRE_GRACE_SECONDS = 6 * 3600


def cron_trigger(expression: str) -> CronTrigger:
    """Five cron fields in UTC. Raises InvalidSetting.

    Weekday numbers follow cron (0 and 7: Sunday); APScheduler would count from Monday.
    """
    allowed = "five cron fields (minute hour day month weekday, UTC), such as 0 2 * * *"
    parts = expression.split()
    if len(parts) != 5:
        raise InvalidSetting("CLM_SCHEDULE", expression, allowed)
    try:
        parts[4] = re.sub(r"(?<![/\w])\d+", lambda found: _WEEKDAYS[int(found.group())], parts[4])
        return CronTrigger.from_crontab(" ".join(parts), timezone=UTC)
    except (ValueError, IndexError) as exc:
        raise InvalidSetting("CLM_SCHEDULE", expression, allowed) from exc


class Schedule:
    """Calls `ask_for_run` at every slot of a cron expression, while entered."""

    def __init__(self, expression: str, ask_for_run: Callable[[], object]) -> None:
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._scheduler.add_job(
            ask_for_run, cron_trigger(expression), id="retrain", coalesce=True, max_instances=1,
            misfire_grace_time=_MISFIRE_GRACE_SECONDS,
        )  # fmt: skip

    def next_run(self) -> datetime | None:
        """The next slot, None when not running."""
        job = self._scheduler.get_job("retrain")
        moment: datetime | None = getattr(job, "next_run_time", None)
        return moment

    def __enter__(self) -> Self:
        self._scheduler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scheduler.shutdown(wait=False)
