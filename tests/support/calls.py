"""In which order the operating system is asked for things: seen from outside, nothing is replaced."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def calls_of(*names: str) -> Iterator[list[str]]:
    """The names of those functions of `os`, and of SQLite's connections, that this thread calls, in order."""
    seen: list[str] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in names:
            return
        if called.__module__ == "posix" or isinstance(called.__self__, sqlite3.Connection):
            seen.append(called.__name__)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield seen
    finally:
        sys.setprofile(before)
