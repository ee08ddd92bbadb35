"""Migrations with rows in the tables: up, down and up again, nothing that a revision can hold is lost."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from clm.core.errors import BadInput, DatabaseTooNew
from clm.core.pooled_bets import PooledBets
from clm.registry.database import Database
from clm.registry.engine import opened, reading, writing
from clm.registry.migrate import BASE, HEAD, KNOWN, VERSION_TABLE, downgrade, revision_of, upgrade
from clm.registry.runs import SQLRunStore
from clm.registry.tables import METADATA
from tests.support.rows import Contents
from tests.support.schema import assert_guarded, contents_of, filled, upgrade_to


def _shape(empty_url: str) -> object:
    """Tables, columns, indexes, triggers and functions, by name and text."""
    queries = {
        "sqlite": ["SELECT type, name, sql FROM sqlite_master WHERE name LIKE '%clm%' ORDER BY type, name"],
        "postgresql": [
            "SELECT table_name, column_name, data_type, is_nullable, column_default "
            "FROM information_schema.columns WHERE table_name LIKE 'clm%' ORDER BY 1, 2",
            "SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'clm%' ORDER BY 1",
            "SELECT pg_get_constraintdef(oid), conname FROM pg_constraint WHERE conrelid::regclass::text "
            "LIKE 'clm%' ORDER BY 2, 1",
            "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'clm%' ORDER BY 1",
        ],
    }
    with opened(empty_url) as engine, reading(engine) as connection:
        found = [connection.execute(sa.text(q)).all() for q in queries[engine.dialect.name]]
    return [[tuple(row) for row in rows] for rows in found]


def _within(smaller: Contents, larger: Contents) -> bool:
    """Every value of `smaller` is in `larger` as it was."""
    return all(
        rows.keys() <= larger.get(table, {}).keys()
        and all(row.items() <= larger[table][number].items() for number, row in rows.items())
        for table, rows in smaller.items()
    )


@pytest.mark.parametrize("revision", KNOWN)
def test_rows_of_every_revision_arrive_at_the_head_unchanged(empty_url: str, revision: str) -> None:
    upgrade_to(empty_url, revision)
    filled(empty_url)
    before = contents_of(empty_url)

    assert upgrade(empty_url) == HEAD

    assert before["clm_model_versions"].keys() == {1, 2, 3, 4}
    assert _within(before, contents_of(empty_url))
    assert_guarded(empty_url)


@pytest.mark.parametrize(
    "empty_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.rehearse)], indirect=True
)
def test_rows_survive_every_step_down_and_up_that_has_room_for_them(empty_url: str) -> None:
    upgrade(empty_url)
    filled(empty_url)
    full = contents_of(empty_url)
    for revision in reversed(KNOWN[:-1]):
        assert downgrade(empty_url, revision) == revision_of(empty_url) == revision
        kept = contents_of(empty_url)
        assert_guarded(empty_url)

        upgrade(empty_url)
        assert _within(kept, contents_of(empty_url))
        downgrade(empty_url, revision)

        assert kept == contents_of(empty_url)
        assert _within(kept, full)
        assert set(kept) >= {"clm_model_versions", "clm_runs", "clm_decisions"}
        assert all(len(kept[table]) == len(full[table]) for table in kept)


def test_bets_of_the_other_series_are_found_by_the_rows_they_stood_beside(empty_url: str) -> None:
    upgrade_to(empty_url, "0005")
    filled(empty_url)

    for _ in range(2):
        upgrade(empty_url)
        rows, pools = (contents_of(empty_url)[name] for name in ("clm_evidence", "clm_pooled_bets"))
        named = {pool["sha256"]: json.loads(pool["members_json"] or "") for pool in pools.values()}
        assert [named.get(rows[number]["pool_sha256"]) for number in (1, 2)] == [
            {"BTCUSDT": [-7.2e-9, 1.7976931348623157e308], "ETHUSDT": [0.1, 0.2]}, None,
        ]  # fmt: skip
        assert PooledBets(named[rows[1]["pool_sha256"]]).sha256 == rows[1]["pool_sha256"]

        downgrade(empty_url, "0005")

        beside = sa.text("SELECT others_json FROM clm_evidence ORDER BY id")
        with opened(empty_url) as engine, reading(engine) as connection:
            kept = connection.execute(beside.columns(others_json=sa.JSON)).scalars().all()
        assert kept == [{"ETHUSDT": [0.1, 0.2]}, {}]


def test_a_journal_becomes_rows_and_one_object_again(empty_url: str) -> None:
    upgrade_to(empty_url, "0008")
    filled(empty_url)
    read = sa.text("SELECT journal_json FROM clm_runs ORDER BY id").columns(journal_json=sa.JSON)

    for _ in range(2):
        upgrade(empty_url)
        database = Database(empty_url)
        journal = SQLRunStore(database).journal("r20240501_003003_abcdef")
        database.close()
        assert journal == {"BTCUSDT 1h lightgbm": {"begun": 1}}

        downgrade(empty_url, "0008")

        with opened(empty_url) as engine, reading(engine) as connection:
            assert connection.execute(read).scalars().all() == [{}, {}, {"BTCUSDT 1h lightgbm": {"begun": 1}}]


def test_a_downgrade_leaves_exactly_what_the_older_clm_would_have_made(empty_url: str) -> None:
    shapes = {}
    for revision in KNOWN:
        upgrade_to(empty_url, revision)
        shapes[revision] = _shape(empty_url)
    filled(empty_url)

    for revision in reversed(KNOWN):
        downgrade(empty_url, revision)
        assert _shape(empty_url) == shapes[revision]


def test_down_to_nothing_and_up_again_the_schema_is_whole(empty_url: str) -> None:
    upgrade(empty_url)
    filled(empty_url)

    downgrade(empty_url, BASE)

    assert revision_of(empty_url) is None
    assert contents_of(empty_url) == {}
    upgrade(empty_url)
    assert_guarded(empty_url)
    with opened(empty_url) as engine, reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []


def test_runs_of_kinds_an_older_clm_does_not_know_go_with_the_downgrade(empty_url: str) -> None:
    """It would take the newest of them for a retraining run."""
    upgrade(empty_url)
    filled(empty_url)
    with opened(empty_url) as engine, writing(engine) as connection:
        columns = "state, request_json, created_at, owner, progress_json, attempt, interruptions_json"
        connection.execute(
            sa.text(
                f"INSERT INTO clm_runs (run_id, kind, {columns}) SELECT 'tick', 'shadow', {columns} "
                "FROM clm_runs WHERE id = 1"
            )
        )

    downgrade(empty_url, "0002")

    assert {row["kind"] for row in contents_of(empty_url)["clm_runs"].values()} == {"retrain"}
    assert len(contents_of(empty_url)["clm_runs"]) == 3


@pytest.mark.parametrize("revision", ["9999", "head", "", "-1"])
def test_a_revision_nobody_knows_is_refused_with_those_that_are(empty_url: str, revision: str) -> None:
    upgrade(empty_url)
    with pytest.raises(BadInput, match=r"base, 0001, 0002"):
        downgrade(empty_url, revision)
    assert revision_of(empty_url) == HEAD


def test_a_downgrade_never_goes_up_and_never_touches_a_newer_database(empty_url: str) -> None:
    upgrade_to(empty_url, "0001")
    with pytest.raises(BadInput):
        downgrade(empty_url, "0002")
    with opened(empty_url) as engine, writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew):
        downgrade(empty_url, BASE)

    assert revision_of(empty_url) == "9999"


_THE_GUIDES = {"ix_model_type": ["model_type"], "ix_status": ["status"], "ix_version": ["version"]}


def _indexes(url: str, table: str) -> dict[str | None, list[str | None]]:
    with opened(url) as engine, reading(engine) as connection:
        return {index["name"]: index["column_names"] for index in sa.inspect(connection).get_indexes(table)}


def test_the_indexes_of_the_guide_are_there(empty_url: str) -> None:
    upgrade(empty_url)

    assert _THE_GUIDES.items() <= _indexes(empty_url, "clm_model_versions").items()


def test_a_neighbours_index_of_the_same_name_is_left_alone_up_and_down(empty_url: str) -> None:
    with opened(empty_url) as engine, writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE orders (status VARCHAR(9))"))
        connection.execute(sa.text("CREATE INDEX ix_status ON orders (status)"))

    assert upgrade(empty_url) == HEAD
    assert "ix_version" in _indexes(empty_url, "clm_model_versions")
    downgrade(empty_url, "0001")

    assert _indexes(empty_url, "orders") == {"ix_status": ["status"]}
    assert not _THE_GUIDES.keys() & _indexes(empty_url, "clm_model_versions").keys()
