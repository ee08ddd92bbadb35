"""How hard to fuzz: the same inputs each time, or with CLM_TEST_FUZZ=20 twenty times as many new ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

Answer = TypeVar("Answer")
Allowed = TypeVar("Allowed", bound=Exception)
SCALE = int(os.environ.get("CLM_TEST_FUZZ", "1"))


def examples(count: int) -> settings:
    """`count` examples; always the same ones unless more are asked for."""
    return settings(
        max_examples=count * SCALE, derandomize=SCALE == 1, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )  # fmt: skip


def outcome(do: Callable[[], Answer], allowed: type[Allowed]) -> Answer | Allowed:
    """What `do` answers, or the error it may raise; any other error is the test's end."""
    try:
        return do()
    except allowed as error:
        return error
