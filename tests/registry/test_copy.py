"""A copy is the same to the last bit, between any two databases, and is there as a whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clm.core.domain import Progress
from clm.core.errors import BadData, BadInput, DatabaseTooNew, DatabaseTooOld, NotEmpty, NotFound
from clm.core.recompute import recompute
from clm.registry.copy import copy_database
from clm.registry.engine import opened, reading, writing
from clm.registry.migrate import VERSION_TABLE, revision_of, upgrade
from clm.registry.sql import SQLModelRegistry
from clm.registry.tables import METADATA, alerts, decisions, forecasts, trials, versions
from tests.support.postgres import fresh_database
from tests.support.rows import ROWS, T0
from tests.support.schema import assert_guarded, contents_of, filled, upgrade_to
from tests.support.stage import HOUR, RIDGE, Stage
from tests.support.versions import BTC, candidate

WAYS = [
    ("sqlite", "postgresql"),
    ("postgresql", "sqlite"),
    ("postgresql", "postgresql"),
    ("sqlite", "sqlite"),
]
Way = tuple[str, str]


@pytest.fixture(params=WAYS, ids=" to ".join)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    """Two URLs of databases that are not there yet, or empty."""
    with ExitStack() as stack:
        yield _databases(stack, request.param, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        yield _databases(stack, ("sqlite", request.param), tmp_path)[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with rows in every table, to be copied."""
    file = tmp_path_factory.mktemp("made") / "source.db"
    upgrade(f"sqlite:///{file}")
    filled(f"sqlite:///{file}")
    return file


@pytest.fixture
def source(made: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copyfile(made, tmp_path / 'source.db')}"


def _databases(stack: ExitStack, kinds: Way, folder: Path) -> Way:
    first, second = (
        f"sqlite:///{folder}/{name}.db" if kind == "sqlite" else stack.enter_context(fresh_database())
        for name, kind in zip(("source", "target"), kinds, strict=True)
    )
    return first, second


def _insert(db_url: str, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    with opened(db_url) as engine, writing(engine) as connection:
        connection.execute(table.insert(), rows)


def _rows(db_url: str, table: sa.Table) -> int:
    return len(contents_of(db_url)[table.name])


class TestWhatArrives:
    def test_is_every_row_of_every_table_with_its_id(self, way: Way) -> None:
        source, target = way
        upgrade(source)
        filled(source)

        copied = copy_database(source, target)

        assert contents_of(target) == contents_of(source)
        assert {table.name: table.rows for table in copied} == {
            name: len(rows) for name, rows in contents_of(source).items()
        }
        assert {table.name for table in copied} == set(METADATA.tables)
        assert all(table.rows for table in copied)

    def test_is_guarded_like_its_source_and_goes_on_with_the_next_ids(self, way: Way) -> None:
        source, target = way
        upgrade(source)
        filled(source)
        copy_database(source, target)

        assert_guarded(target)
        first = dict(ROWS["clm_trials"][0])
        _insert(target, trials, [first])
        assert contents_of(target)["clm_trials"].keys() == {1, 2, 3}

    def test_comes_back_the_same_after_a_round_trip(self, source: str, tmp_path: Path) -> None:
        with fresh_database() as server:
            there = copy_database(source, server)
            back = copy_database(server, f"sqlite:///{tmp_path}/back.db")

        assert there == back
        assert contents_of(f"sqlite:///{tmp_path}/back.db") == contents_of(source)

    def test_has_gaps_in_its_ids_where_the_source_has(self, way: Way) -> None:
        source, target = way
        upgrade(source)
        row = dict(ROWS["clm_alerts"][0])
        _insert(source, alerts, [{**row, "id": n, "incident": str(n)} for n in (3, 700, 9001)])

        copy_database(source, target)
        _insert(target, alerts, [{**row, "incident": "next"}])

        assert contents_of(target)["clm_alerts"].keys() == {3, 700, 9001, 9002}

    def test_of_many_rows_is_told_as_it_goes(self, source: str, target: str) -> None:
        many = [{**ROWS["clm_forecasts"][0], "open_time": T0 + (100 + n) * HOUR} for n in range(4500)]
        _insert(source, forecasts, many)
        heard: list[Progress] = []

        copy_database(source, target, heard.append)

        done = [progress.done for progress in heard]
        assert done == sorted(done)
        assert {progress.total for progress in heard} == {done[-1]}
        assert sum(progress.message == "copying clm_forecasts" for progress in heard) == 3


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
DOUBLES = st.floats(allow_nan=False) | st.sampled_from([5e-324, -1.7976931348623157e308, 0.1 + 0.2, -0.0])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        _SCALARS | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
VALUES = st.tuples(DOUBLES, DOUBLES | st.none(), TIMES, TEXTS, JSONS, JSONS | st.none())


@pytest.mark.rehearse
@pytest.mark.parametrize("kinds", WAYS[:2], ids=" to ".join)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.tuples(DOUBLES, DOUBLES | st.none(), TIMES, TEXTS, JSONS, JSONS | st.none()), min_size=5
    )
)
def test_no_double_time_text_or_json_changes(
    tmp_path_factory: pytest.TempPathFactory, kinds: Way, values: list[Any]
) -> None:
    with ExitStack() as stack:
        source, target = _databases(stack, kinds, tmp_path_factory.mktemp("copy"))
        upgrade(source)
        for n, (double, maybe, time, text, document, perhaps) in enumerate(values):
            forecast, decision = ROWS["clm_forecasts"][0], ROWS["clm_decisions"][0]
            _insert(
                source, forecasts,
                [{**forecast, "version": str(n), "forecast": double, "actual": maybe, "made_at": time}],
            )  # fmt: skip
            _insert(
                source, decisions,
                [{**decision, "reason": text, "numbers_json": document, "inputs_json": perhaps}],
            )  # fmt: skip

        copy_database(source, target)

        assert contents_of(target) == contents_of(source)


def test_jsons_null_is_not_sqls_null(way: Way) -> None:
    source, target = way
    upgrade(source)
    row = dict(ROWS["clm_decisions"][0])
    for given_inputs in (None, sa.JSON.NULL, {"a": None}):
        _insert(source, decisions, [{**row, "inputs_json": given_inputs}])

    copy_database(source, target)

    stored = [row["inputs_json"] for row in contents_of(target)["clm_decisions"].values()]
    assert stored == [None, "null", '{"a": null}']


def test_json_keeps_its_digits_and_spaces(way: Way) -> None:
    source, target = way
    upgrade(source)
    filled(source)
    text = '{ "b" : 1.10, "a": 1e400, "b": 12345678901234567890123, "s": "\\u0000\\ud800" }'
    with opened(source) as engine, writing(engine) as connection:
        cast = "CAST(:text AS json)" if engine.dialect.name == "postgresql" else ":text"
        connection.execute(sa.text(f"UPDATE clm_runs SET report_json = {cast}"), {"text": text})

    copy_database(source, target)

    assert {row["report_json"] for row in contents_of(target)["clm_runs"].values()} == {text}


@pytest.mark.rehearse
def test_a_copy_holds_nobody_up_and_sees_nothing_of_what_they_write(way: Way) -> None:
    source, target = way
    upgrade(source)
    filled(source)
    before = contents_of(source)

    def write_once(progress: Progress) -> None:
        if _rows(source, trials) == 2:
            _insert(source, trials, [dict(ROWS["clm_trials"][0])])
            _insert(source, alerts, [{**ROWS["clm_alerts"][0], "incident": "meanwhile"}])

    copy_database(source, target, write_once)

    assert contents_of(target) == before
    assert (_rows(source, trials), _rows(source, alerts)) == (3, 2)


class TestRefusals:
    def test_a_target_with_a_row_is_named_and_left_alone(self, source: str, target: str) -> None:
        upgrade(target)
        _insert(target, trials, [dict(ROWS["clm_trials"][0])])

        with pytest.raises(NotEmpty, match=r"clm_trials has 1 row$"):
            copy_database(source, target)

        assert sum(map(len, contents_of(target).values())) == 1

    def test_a_source_of_an_older_clm_is_sent_to_the_upgrade(self, target: str, tmp_path: Path) -> None:
        old = f"sqlite:///{tmp_path}/old.db"
        upgrade_to(old, "0002")
        filled(old)

        with pytest.raises(DatabaseTooOld, match=r"revision 0002.*`clm db upgrade`"):
            copy_database(old, target)

        assert revision_of(target) is None
        assert revision_of(old) == "0002"

    def test_a_target_of_an_older_or_newer_clm_is_refused(self, source: str, target: str) -> None:
        upgrade_to(target, "0001")
        with pytest.raises(DatabaseTooOld):
            copy_database(source, target)
        with opened(target) as engine, writing(engine) as connection:
            connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        with pytest.raises(DatabaseTooNew):
            copy_database(source, target)

    def test_a_source_that_is_not_there_is_not_made(self, target: str, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"missing\.db"):
            copy_database(f"sqlite:///{tmp_path}/missing.db", target)
        with pytest.raises(BadInput, match="another, empty one"):
            copy_database(target, target)

        assert not (tmp_path / "missing.db").exists()

    def test_an_empty_source_is_too_old(self, target: str, tmp_path: Path) -> None:
        (tmp_path / "nothing.db").touch()
        with pytest.raises(DatabaseTooOld, match="revision none"):
            copy_database(f"sqlite:///{tmp_path}/nothing.db", target)

    @pytest.mark.parametrize(
        ("column", "value"), [("reason", "a\0b"), ("recipe_id", "x" * 65), ("seconds", "much")]
    )
    def test_what_postgresql_cannot_hold_is_named_and_nothing_arrives(
        self, source: str, column: str, value: str
    ) -> None:
        with opened(source) as engine, writing(engine) as connection:
            text = sa.text(
                "INSERT INTO clm_trials SELECT 99, model_type, symbol, interval, version, recipe_id, "
                "began_at, outcome, reason, seconds, trigger, details_json FROM clm_trials WHERE id = 1"
            )
            connection.execute(text)
            connection.execute(sa.text("DROP TRIGGER clm_trials_no_update"))
            connection.execute(sa.text(f"UPDATE clm_trials SET {column} = :v WHERE id = 99"), {"v": value})

        with fresh_database() as target:
            with pytest.raises(BadData, match=r"clm_trials.*nothing was copied"):
                copy_database(source, target)

            assert sum(map(len, contents_of(target).values())) == 0

    @pytest.mark.parametrize("column", ["forecast", "revised"])
    def test_what_sqlite_would_silently_change_is_noticed(self, column: str, tmp_path: Path) -> None:
        """It stores NaN as NULL."""
        with fresh_database() as source:
            upgrade(source)
            _insert(source, forecasts, [{**ROWS["clm_forecasts"][0], column: float("nan")}])
            with pytest.raises(BadData, match="clm_forecasts"):
                copy_database(source, f"sqlite:///{tmp_path}/target.db")

        assert sum(map(len, contents_of(f"sqlite:///{tmp_path}/target.db").values())) == 0

    def test_an_interrupted_copy_leaves_nothing_and_can_be_done_again(self, source: str, target: str) -> None:
        def interrupt(progress: Progress) -> None:
            if "comparing clm_trials" in progress.message:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_database(source, target, interrupt)
        assert sum(map(len, contents_of(target).values())) == 0

        copy_database(source, target)
        assert contents_of(target) == contents_of(source)


def test_every_decision_recomputes_the_same_on_the_copy(target: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path, rehearsal=True)
    stage.reign(0.0)
    stage.challenge(0.3)
    stage.client.now += 400 * HOUR
    stage.live.tick()
    bad = stage.save(-0.3)
    stage.registry.promote(RIDGE, bad.version, at=stage.client.now)
    stage.client.now += 300 * HOUR
    stage.live.tick()
    stage.close()

    copy_database(f"sqlite:///{tmp_path}/clm.db", target)

    with SQLModelRegistry(target, tmp_path / "models", series=BTC) as there:
        computed = [d for d in there.get_decisions(RIDGE, limit=50) if d.inputs]
        found = {d.label: recompute(there, d) for d in computed}
        assert set(found) == {"better", "guard"}
        assert all(again.same and again.bets > 20 for again in found.values())
        assert there.verify() == []


def test_the_copy_is_worked_with_at_once(way: Way, tmp_path: Path) -> None:
    source, target = way
    with SQLModelRegistry(source, tmp_path / "models", series=BTC) as here:
        here.promote(RIDGE, here.save_model(candidate()).version)
        second = here.save_model(candidate(1))

    copy_database(source, target)

    with SQLModelRegistry(target, tmp_path / "models", series=BTC) as there:
        there.promote(RIDGE, second.version)
        there.save_model(candidate(2))
        back = there.rollback(RIDGE)
        assert there.verify() == []
        assert [d.label for d in there.get_decisions(RIDGE)] == ["rollback", "manual", "manual"]
    assert back.version == candidate().version
    with opened(target) as engine, reading(engine) as connection:
        assert connection.execute(sa.select(sa.func.max(versions.c.id))).scalar() == 3
