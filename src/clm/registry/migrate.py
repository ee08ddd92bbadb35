"""Brings a database up to this CLM's schema; Alembic is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from clm.core.errors import DatabaseTooNew
from clm.registry.engine import open_engine, reading, writing

#: The newest migration this CLM knows, and all of them; a test compares them with the folder.
HEAD = "0001"
KNOWN = ("0001",)
#: A name of our own, so that CLM may share a database with an application that uses Alembic too.
VERSION_TABLE = "clm_schema_version"
#: Any number, but always the same: whoever migrates a PostgreSQL database of CLM holds this lock.
_ADVISORY_LOCK = 0x434C4D


def upgrade(db_url: str) -> str:
    """Creates or upgrades the tables at `db_url`; answers the revision. Raises DatabaseTooNew."""
    engine = open_engine(db_url)
    try:
        ensure_schema(engine)
    finally:
        engine.dispose()
    return HEAD


def ensure_schema(engine: sa.Engine) -> None:
    """Returns at once for an up-to-date database; upgrades an empty or older one, one process at a time."""
    with reading(engine) as connection:
        if _revision(connection, engine) == HEAD:
            return
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        # Whoever waited for the lock looks again: another process may have done it meanwhile.
        if _revision(connection, engine) != HEAD:
            _upgrade(connection)


def migrations() -> Path:
    """The folder of the migrations: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "alembic"


def _revision(connection: sa.Connection, engine: sa.Engine) -> str | None:
    """The database's revision, None for an empty one. Raises DatabaseTooNew for one we do not know."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
    found: str | None = connection.execute(sa.select(table.c.version_num)).scalar()
    if found is not None and found not in KNOWN:
        raise DatabaseTooNew(
            f"the database {engine.url.render_as_string(hide_password=True)} is at revision {found}; "
            f"this CLM knows {', '.join(KNOWN)}: use the CLM that wrote it, or a newer one"
        )
    return found


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations()))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, HEAD)
