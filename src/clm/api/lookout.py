"""One look for many listeners: what a page or a stream asks for every second costs the database one read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
#: Seconds after which a thing nobody has looked at is forgotten.
_FORGOTTEN = 60.0


class Lookout(Generic[T]):
    """Looks at things by their key, at most once in `seconds` each, however many ask meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: Key → what is or was seen, and when the look began.
        self._seen: dict[Hashable, tuple[asyncio.Future[T], float]] = {}

    async def see(self, key: Hashable, look: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """What `look` answers, or answered at most `seconds` ago, None: as usual. Raises what it raises, for
        as long as usual.
        """
        most = self._seconds if seconds is None else seconds
        now = time.monotonic()
        seen, began = self._seen.get(key, (None, 0.0))
        if seen is None or (seen.done() and now - began >= self._kept(seen, most)):
            self._forget(now)
            seen = asyncio.ensure_future(look())
            seen.add_done_callback(_heard)
            self._seen[key] = (seen, now)
        # Who hangs up does not end the look of the others.
        return await asyncio.shield(seen)

    def _kept(self, seen: asyncio.Future[T], most: float) -> float:
        """Seconds that what came out is told again: a failure no longer than usual."""
        failed = seen.cancelled() or seen.exception() is not None
        return min(most, self._seconds) if failed else most

    def drop(self) -> None:
        """Something has changed: the next look is a new one."""
        self._seen = {key: kept for key, kept in self._seen.items() if not kept[0].done()}

    def _forget(self, now: float) -> None:
        for key, (seen, began) in list(self._seen.items()):
            if seen.done() and now - began > _FORGOTTEN:
                del self._seen[key]


def _heard(seen: asyncio.Future[T]) -> None:
    """An error that nobody waited for is no news: the next who asks looks again."""
    if not seen.cancelled():
        seen.exception()
