"""Asynchronous work in tests that are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def finished(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `work` comes to, in a thread of its own.

    `asyncio.run` takes its thread's loop away at the end; in the main thread that may be one that
    python-binance has put there, which then nobody would close.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()
