"""What is being done right now, for whoever tells of it: names on every log line, and how far a part is.

It goes along with the thread of execution (a context variable), so that a library's call-back deep inside a
training needs no argument handed down to it. Nothing that is computed may depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType

#: A listener hears of a part at most so often, seconds.
TOLD_EVERY = 0.25

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NAMES: ContextVar[Mapping[str, str]] = ContextVar("clm_names", default=_NOTHING)
_LISTENER: ContextVar[Callable[[Part], None] | None] = ContextVar("clm_listener", default=None)


@dataclass(frozen=True, slots=True)
class Part:
    """How far one step of a cycle is by itself. unit: what is counted, such as rounds."""

    done: int
    total: int
    unit: str


@contextmanager
def about(**names: str) -> Iterator[None]:
    """Inside, these names (run_id, series, model) belong to whatever is logged."""
    token = _NAMES.set({**_NAMES.get(), **names})
    try:
        yield
    finally:
        _NAMES.reset(token)


def names() -> Mapping[str, str]:
    """Those that hold here."""
    return _NAMES.get()


@contextmanager
def heard_by(listener: Callable[[Part], None]) -> Iterator[None]:
    """Inside, the listener hears how far parts are. It must not raise."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def counter(total: int, unit: str) -> Callable[[int], None] | None:
    """To be called with how much of a part is done, as often as one likes; None where nobody listens.

    The first word comes after `TOLD_EVERY` seconds: a part that is done by then is not worth one.
    """
    listener = _LISTENER.get()
    if listener is None:
        return None
    hear, last = listener, time.monotonic()

    def count(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TOLD_EVERY:
            last = now
            hear(Part(done, total, unit))

    return count
