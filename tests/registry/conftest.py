"""Every promise is held on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.registry.sql import SQLModelRegistry
from tests.support.databases import KINDS, database_of, empty_database_of
from tests.support.versions import BTC


@pytest.fixture(params=KINDS)
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database with CLM's tables and nothing in them."""
    with database_of(request.param, tmp_path) as url:
        yield url


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database without any table, or of none yet."""
    with empty_database_of(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def registry(db_url: str, tmp_path: Path) -> Iterator[SQLModelRegistry]:
    with SQLModelRegistry(db_url, tmp_path / "models", series=BTC) as registry:
        yield registry
