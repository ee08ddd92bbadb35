"""One account of request weight for all processes of a machine: a small file that each of them books in.

Weight is booked before a request is sent, so that what is on its way counts. No sixty seconds hold more than
the budget: which minute the exchange counts by, and how far its clock is from ours, does not matter. A
process that is killed leaves behind what it had booked, and no lock: that is the system's, and ends with its
holder.

What the exchange asks of an address ("nobody here is to ask for ten minutes") stands in it too, and holds for
all of them alike.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from clm.logs import logger

log = logger(__name__)
#: Seconds that a budget is for, and those that are booked as one.
_MINUTE, _GRAIN = 60.0, 0.25
_PATIENCE_SECONDS = 2.0
#: However long an exchange asks for: Binance's longest ban.
_LONGEST_SECONDS = 3 * 86_400.0
#: Host → {"booked": [[second, weight], …], "closed": [second, budget], "shut": [since, until, why]}: before
#: `closed` nothing on that budget, before `until` nothing at all.
_Pages = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Account:
    """file: None for the machine's, in this user's state folder.

    Where it cannot be written this process keeps account for itself alone, and the log says so.
    """

    file: Path | None = None
    _alone: _Pages | None = field(default=None, repr=False)
    _held: FileLock | None = field(default=None, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def book(self, host: str, weight: int, budget: int, now: float) -> float:
        """0.0 when it is booked; else nothing is, and in so many seconds it is worth another try."""
        return self._change(lambda pages: _book(pages, host, weight, budget, now))

    def close(self, host: str, until: float, budget: int) -> None:
        """Nothing is booked before then on this budget or a smaller: the exchange counts more than we."""

        def closed(pages: _Pages) -> float:
            before, most = pages.setdefault(host, {}).get("closed", (0.0, 0))
            pages[host]["closed"] = [until, max(budget, most) if before >= until else budget]
            return 0.0

        self._change(closed)

    def shut(self, host: str, seconds: float, why: str, now: float) -> None:
        """Nothing at all is booked for so long: the exchange said so. Of two words the longer stands."""

        def shut(pages: _Pages) -> float:
            page = pages.setdefault(host, {})
            until = now + min(seconds, _LONGEST_SECONDS)
            if until > now + _shut(page, now):
                page["shut"] = [now, until, why]
            return 0.0

        self._change(shut)

    def closure(self, host: str, now: float) -> tuple[float, str]:
        """(seconds for which nothing at all is booked, why); zero and nothing where the host is open."""
        why = ""

        def read(pages: _Pages) -> float:
            nonlocal why
            page = pages.get(host, {})
            seconds = _shut(page, now)
            why = str(page["shut"][2]) if seconds else ""
            return seconds

        return self._change(read), why

    def reopen(self, host: str) -> None:
        """Forgets what the exchange asked for."""

        def reopened(pages: _Pages) -> float:
            pages.get(host, {}).pop("shut", None)
            return 0.0

        self._change(reopened)

    def standing(self, host: str, now: float) -> tuple[int, float]:
        """(weight booked in the last minute, seconds until anything is booked again); nothing is booked."""
        spent = 0

        def read(pages: _Pages) -> float:
            nonlocal spent
            page = pages.get(host, {})
            shut = _shut(page, now)
            spent = sum(weight for at, weight in page.get("booked", []) if now - _MINUTE < at <= now)
            closed = float(page.get("closed", (0.0, 0))[0]) - now
            return max(shut, closed if 0 < closed <= _MINUTE else 0.0)

        waits = self._change(read)
        return spent, waits

    def _change(self, change: Callable[[_Pages], float]) -> float:
        with self._lock:
            if self._alone is None:
                try:
                    self.file = self.file or _of_this_user()
                    self._held = self._held or FileLock(self.file.with_suffix(".lock"), poll_interval=0.001)
                    # Its time-out is an OSError too.
                    with self._held.acquire(timeout=_PATIENCE_SECONDS):
                        return _changed(self.file, change)
                except OSError as exc:
                    log.warning(
                        "weight_not_shared", error=str(exc), action="this process counts its own alone"
                    )
                    self._alone = {}
            return change(self._alone)


def _book(pages: _Pages, host: str, weight: int, budget: int, now: float) -> float:
    for other in [name for name, page in pages.items() if _newest(page) < now - 2 * _MINUTE]:
        del pages[other]
    page = pages.setdefault(host, {})
    # A stamp of the future is from before the clock was set back.
    booked = [[at, spent] for at, spent in page.get("booked", []) if now - _MINUTE - _GRAIN < at <= now]
    page["booked"] = booked
    if (shut := _shut(page, now)) > 0:
        return shut
    closed, most = page.get("closed", (0.0, 0))
    if now < closed <= now + _MINUTE and budget <= most:
        return float(closed - now)
    free = budget - sum(spent for _, spent in booked)
    if free < weight:
        for at, spent in booked:
            free += spent
            if free >= weight or at == booked[-1][0]:
                return float(at + _MINUTE + _GRAIN - now)
    grain = now // _GRAIN * _GRAIN
    if booked and booked[-1][0] == grain:
        booked[-1][1] += weight
    else:
        booked.append([grain, weight])
    return 0.0


def _newest(page: dict[str, Any]) -> float:
    stamps = [page.get("closed", (0.0, 0))[0], page.get("shut", (0.0, 0.0))[1]]
    return float(max([*stamps, *(at for at, _ in page.get("booked", []))]))


def _shut(page: dict[str, Any], now: float) -> float:
    """Seconds for which nothing is booked. Void once the clock was set back behind the word."""
    since, until, _ = page.get("shut", (0.0, 0.0, ""))
    return float(until - now) if since <= now + _GRAIN and now < until <= since + _LONGEST_SECONDS else 0.0


def _sound(read: Any) -> _Pages:
    """The pages among what was read that are some: a file that holds anything else stops nobody."""
    pages = read.items() if isinstance(read, dict) else ()
    return {str(host): page for host, page in pages if isinstance(page, dict) and _is_sound(page)}


def _is_sound(page: dict[str, Any]) -> bool:
    match page.get("booked", []), page.get("closed", [0, 0]), page.get("shut", [0, 0, ""]):
        case list(booked), [int() | float(), int() | float()], [int() | float(), int() | float(), str()]:
            return all(
                isinstance(entry, list) and len(entry) == 2 and all(isinstance(n, int | float) for n in entry)
                for entry in booked
            )
    return False


def _changed(file: Path, change: Callable[[_Pages], float]) -> float:
    """What `change` answers, having changed what is in the file. Raises OSError."""
    try:
        pages = _sound(json.loads(file.read_bytes()))
    except (FileNotFoundError, ValueError):
        pages = {}
    answer: float = change(pages)
    raw = json.dumps(pages).encode()
    # In one piece over what was there, with blanks where that was longer: never half of it.
    with file.open("r+b" if file.exists() else "xb", buffering=0) as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(0)
        opened.write(raw.ljust(size))
    return answer


def _of_this_user() -> Path:
    """The machine's file: of all processes of this user, whatever folder or sandbox they work in.

    Not below the folder for temporary files, which systemd's `PrivateTmp` makes another one for a service.
    Raises PermissionError where its folder is somebody else's, OSError where it cannot be made.
    """
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder / "weight.json"


def state_folder() -> Path:
    """The user's state folder (XDG); without a home to write to, one below that for temporary files."""
    if said := os.environ.get("XDG_STATE_HOME"):
        return Path(said) / "clm"
    home = os.path.expanduser("~")  # Path.home() raises where nobody knows one
    if os.access(home, os.W_OK):
        return Path(home) / ".local" / "state" / "clm"
    return Path(tempfile.gettempdir()) / f"clm-{os.getuid()}"
