"""Every promise is held on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clm.registry.sql import SQLModelRegistry
from tests.support.postgres import fresh_database
from tests.support.versions import BTC


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path}/clm.db"
        else:
            yield stack.enter_context(fresh_database())


@pytest.fixture
def registry(db_url: str, tmp_path: Path) -> Iterator[SQLModelRegistry]:
    with SQLModelRegistry(db_url, tmp_path / "models", series=BTC) as registry:
        yield registry
