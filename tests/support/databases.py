"""Databases for tests: with CLM's tables in them, copied from one that was migrated once; or empty.

What tests migrations, schemas, copies, restores or a fresh folder takes an empty one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from clm.registry.migrate import upgrade
from tests.support import once
from tests.support.postgres import fresh_database, migrated_database

KINDS = ("sqlite", "postgresql")


def sqlite_in(folder: Path, name: str = "clm.db") -> str:
    """The URL of a SQLite database of this folder, migrated; of the one that is there already, if any."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).exists():
        shutil.copyfile(_migrated_file(), folder / name)
    return f"sqlite:///{folder}/{name}"


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a migrated database of this kind; skips the test where there is no PostgreSQL."""
    if kind == "sqlite":
        yield sqlite_in(folder)
    else:
        with migrated_database() as url:
            yield url


@contextmanager
def empty_database_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a database of this kind without any table, or of none yet."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/clm.db"
    else:
        with fresh_database() as url:
            yield url


@cache
def _migrated_file() -> Path:
    """Of this process; closed, so that everything is in the one file."""
    folder = once.folder("clm-db-")
    upgrade(f"sqlite:///{folder}/clm.db")
    left = [p.name for p in folder.iterdir()]
    assert left == ["clm.db"], left
    return folder / "clm.db"
