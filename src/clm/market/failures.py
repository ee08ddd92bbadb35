"""How often the exchange let this process down: every failed attempt, also one that a retry made good."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

_lock = threading.Lock()
_counted: Counter[tuple[str, str]] = Counter()


def count_failure(call: str, error: Exception) -> None:
    """One more attempt at `call` that ended with `error`."""
    with _lock:
        _counted[call, type(error).__name__] += 1


def failures() -> Mapping[tuple[str, str], int]:
    """(call, name of the error) → attempts that failed, since this process began."""
    with _lock:
        return dict(_counted)
