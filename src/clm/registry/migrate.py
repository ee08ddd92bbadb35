"""Brings a database to this CLM's schema, or back to an older one; Alembic is imported only when needed."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from clm.core.errors import BadInput, DatabaseTooNew, DatabaseTooOld
from clm.registry.engine import alone, file_of, opened, reading, writing

#: The newest migration this CLM knows, and all of them; a test compares them with the folder.
HEAD = "0011"
KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
#: A name of our own, so that CLM may share a database with an application that uses Alembic too.
VERSION_TABLE = "clm_schema_version"
#: Where a downgrade can lead: a revision, or to no tables at all.
BASE = "base"
#: Any number, but always the same: whoever migrates a PostgreSQL database of CLM holds this lock.
_ADVISORY_LOCK = 0x434C4D


def upgrade(db_url: str) -> str:
    """Creates or upgrades the tables at `db_url`; answers the revision. Raises DatabaseTooNew."""
    with opened(db_url) as engine:
        ensure_schema(engine)
    return HEAD


def downgrade(db_url: str, revision: str) -> str:
    """Takes back what newer migrations brought, and what is stored in it; answers the revision.

    For a CLM that is to be replaced by an older one; the tables are the older one's afterwards. Raises
    BadInput for a revision that is not known, or newer than the database's; DatabaseTooNew.
    """
    allowed = f"{', '.join((BASE, *KNOWN))}, not newer than the database's own"
    if revision not in (BASE, *KNOWN):
        raise BadInput("revision", revision, allowed)
    with opened(db_url) as engine, writing(engine, long=True) as connection:
        alone(connection, _ADVISORY_LOCK)
        found = _known_revision(connection)
        if revision != BASE and (found is None or found < revision):
            raise BadInput("revision", revision, allowed)
        if found is not None:
            _run(connection, revision)
    return revision


def revision_of(db_url: str) -> str | None:
    """The revision of the database at `db_url`, also one not known here; None where it has no tables of CLM.

    Nothing is created by looking.
    """
    file = file_of(db_url)
    if file is not None and not file.exists():
        return None
    with opened(db_url) as engine, reading(engine) as connection:
        return _revision(connection)


def ensure_schema(engine: sa.Engine) -> None:
    """Returns at once for an up-to-date database; upgrades an empty or older one, one process at a time."""
    with reading(engine) as connection:
        if _known_revision(connection) == HEAD:
            return
    with writing(engine, long=True) as connection:
        alone(connection, _ADVISORY_LOCK)
        # Whoever waited for the lock looks again: another process may have done it meanwhile.
        if _known_revision(connection) != HEAD:
            _run(connection, HEAD)


def require_head(connection: sa.Connection) -> None:
    """Raises DatabaseTooOld, DatabaseTooNew: for those who would rather not change a database."""
    found = _known_revision(connection)
    if found != HEAD:
        raise DatabaseTooOld(
            f"the database {_named(connection)} is at revision {found or 'none'}, "
            f"this CLM works with {HEAD}: bring it up to date with `clm db upgrade`"
        )


def migrations() -> Path:
    """The folder of the migrations: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "alembic"


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
    found: str | None = connection.execute(sa.select(table.c.version_num)).scalar()
    return found


def _known_revision(connection: sa.Connection) -> str | None:
    """The database's revision, None for an empty one. Raises DatabaseTooNew for one we do not know."""
    found = _revision(connection)
    if found is not None and found not in KNOWN:
        raise DatabaseTooNew(
            f"the database {_named(connection)} is at revision {found}; "
            f"this CLM knows {', '.join(KNOWN)}: use the CLM that wrote it, or a newer one"
        )
    return found


def _named(connection: sa.Connection) -> str:
    return connection.engine.url.render_as_string(hide_password=True)


def _run(connection: sa.Connection, revision: str) -> None:
    """The migrations up or down to `revision`, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations()))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    if revision == HEAD:
        command.upgrade(config, HEAD)
    else:
        command.downgrade(config, revision)
