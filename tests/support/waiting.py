"""Waiting for what must happen: until it has, however slow the machine; one limit for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which what is waited for is taken to never happen; pytest's own limit per test is above it.
LIMIT = 600.0


def eventually(found: Callable[[], T | None], what: object = "what had to be", pause: float = 0.02) -> T:
    """The first true answer of `found`, asked every `pause` seconds. Fails after LIMIT, telling `what`.

    what: a sentence, or something that is called for one.
    """
    deadline = time.monotonic() + LIMIT
    while not (answer := found()):
        if time.monotonic() >= deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"within {LIMIT:.0f} s never: {said}")
        time.sleep(pause)
    return answer
