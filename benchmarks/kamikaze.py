"""A worker that kills itself with SIGKILL at a given point of its first attempt: `… kamikaze POINT N`.

Points: `step`, when the N-th step begins; `commit`, right before the N-th transaction is committed; `file`,
right before the N-th operation on a file below the run's folders; `never`. The real worker otherwise.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from clm.bootstrap import Application
from clm.core.domain import Progress
from clm.settings import Settings
from clm.telemetry import set_up_logging
from clm.worker import work

POINTS = ("step", "commit", "file")
_FILE_EVENTS = frozenset({"os.link", "os.rename", "os.remove"})
_WRITES = os.O_WRONLY | os.O_RDWR


class Fate:
    """Counts points as they come, and ends the process at the chosen one."""

    def __init__(self, point: str, nth: int) -> None:
        self._point, self._nth = point, nth
        self.seen: Counter[str] = Counter()

    def come_to(self, point: str) -> None:
        self.seen[point] += 1
        if point == self._point and self.seen[point] == self._nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self, progress: Progress) -> None:
        self.come_to("step")

    def commit(self, connection: sa.Connection) -> None:
        self.come_to("commit")

    def file(self, folder: str, event: str, details: tuple[Any, ...]) -> None:
        writes = event in _FILE_EVENTS or (event == "open" and int(details[2] or 0) & _WRITES)
        if writes and str(details[0]).startswith(folder):
            self.come_to("file")


def main() -> int:
    order = json.load(sys.stdin)
    settings = Settings(**order["settings"])
    set_up_logging(settings.log_level, settings.log_format)
    with Application(settings) as application:
        # Killed at its first commit it had not begun an attempt yet.
        first = not application.runs.get(order["run_id"]).interruptions
        fate = Fate(sys.argv[1] if first else "never", int(sys.argv[2]))
        sa.event.listen(application.registry.database.engine, "commit", fate.commit)
        folder = str(Path(settings.model_dir).parent)
        sys.addaudithook(lambda event, details: fate.file(folder, event, details))
        code = work(application, order["run_id"], fate.step)
        if first:
            Path(folder, "points.json").write_text(json.dumps(fate.seen))
    return code


if __name__ == "__main__":
    sys.exit(main())
