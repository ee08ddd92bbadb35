"""The schema comes from the migrations alone, appears by itself, and is never guessed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from clm.core.errors import DatabaseTooNew, DatabaseUnavailable, InvalidSetting, StorageFailed
from clm.registry.engine import open_engine, reading, writing
from clm.registry.migrate import HEAD, KNOWN, VERSION_TABLE, ensure_schema, migrations, upgrade
from clm.registry.sql import SQLModelRegistry
from clm.registry.tables import METADATA
from tests.support.versions import BTC
from tests.support.waiting import LIMIT


def test_the_migrations_make_exactly_the_tables_the_code_speaks_of(empty_url: str) -> None:
    upgrade(empty_url)
    engine = open_engine(empty_url)

    with reading(engine) as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        difference = compare_metadata(context, METADATA)
    engine.dispose()

    assert difference == []


def test_the_head_the_code_knows_is_the_newest_migration() -> None:
    numbers = sorted(p.name.partition("_")[0] for p in migrations().glob("versions/[0-9]*.py"))

    assert tuple(numbers) == KNOWN
    assert KNOWN[-1] == HEAD


def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    assert upgrade(empty_url) == upgrade(empty_url) == HEAD


_UPGRADE_WHEN_TOLD = """
import sys
from clm.registry.migrate import upgrade
print("ready", flush=True)
sys.stdin.readline()
upgrade(sys.argv[1])
"""


def test_processes_that_open_an_empty_database_at_once_upgrade_it_once(empty_url: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _UPGRADE_WHEN_TOLD, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=LIMIT)

    assert [child.returncode for child in children] == [0, 0, 0]
    engine = open_engine(empty_url)
    with reading(engine) as connection:
        assert connection.execute(sa.text(f"SELECT count(*) FROM {VERSION_TABLE}")).scalar() == 1
    engine.dispose()


def test_a_database_of_a_newer_clm_is_left_alone(empty_url: str, tmp_path: Path) -> None:
    upgrade(empty_url)
    engine = open_engine(empty_url)
    with writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    registry = SQLModelRegistry(empty_url, tmp_path, series=BTC)
    with pytest.raises(DatabaseTooNew, match=r"9999.*0001"):
        registry.get_active("xgboost")
    registry.close()
    with pytest.raises(DatabaseTooNew):
        ensure_schema(engine)

    engine.dispose()


def test_clm_shares_a_database_with_an_application_that_uses_alembic_too(empty_url: str) -> None:
    engine = open_engine(empty_url)
    with writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('theirs')"))

    ensure_schema(engine)

    with reading(engine) as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["", "clm.db", "mysql://u@h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory", "://"],
)
def test_a_url_that_cannot_be_is_refused_with_what_can(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="sqlite:///"):
        SQLModelRegistry(url, tmp_path, series=BTC)


def test_a_password_never_appears_in_an_error(tmp_path: Path) -> None:
    registry = SQLModelRegistry("postgresql://clm:s3cret@127.0.0.1:9/clm", tmp_path, series=BTC)
    with pytest.raises(DatabaseUnavailable) as refused:
        registry.get_active("xgboost")
    with pytest.raises(InvalidSetting) as wrong:
        SQLModelRegistry("oracle://clm:s3cret@host/clm", tmp_path, series=BTC)

    assert "s3cret" not in f"{refused.value} {wrong.value}"
    assert "127.0.0.1:9" in str(refused.value)


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_are_said_so(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is not a database, it is a long enough text file" * 100)
    with pytest.raises(StorageFailed, match="not a database"):
        SQLModelRegistry(f"sqlite:///{tmp_path}/text.db", tmp_path, series=BTC).get_active("xgboost")
    with pytest.raises(StorageFailed, match="cannot be made"):
        SQLModelRegistry(f"sqlite:///{tmp_path}/text.db/x/clm.db", tmp_path, series=BTC)


def test_sqlite_keeps_what_it_committed_and_waits_for_others(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/clm.db")
    with reading(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
