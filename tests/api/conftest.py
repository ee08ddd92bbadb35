"""Applications of a test's own, which end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from clm.bootstrap import Application
from clm.settings import Settings

ApplicationOf = Callable[[Settings], Application]


@pytest.fixture
def application_of() -> Iterator[ApplicationOf]:
    """Makes one with these settings. Left alone its threads would go on looking beside all later tests."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(closing(Application(settings)))
