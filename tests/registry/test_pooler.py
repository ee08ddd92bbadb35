"""Behind a pooler in transaction mode everything works as on PostgreSQL itself; options are what they say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from clm.core.errors import InvalidSetting
from clm.core.runs import RunRequest, RunState
from clm.registry.database import Database
from clm.registry.engine import open_engine, opened, reading, snapshot, writing
from clm.registry.migrate import HEAD, upgrade
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from tests.support.bets import forecast
from tests.support.exchange import serving, simulated
from tests.support.pgbouncer import pooled
from tests.support.postgres import fresh_database, migrated_database
from tests.support.shell import shell_in
from tests.support.versions import BTC, candidate

RIDGE = "sklearn_ridge"
#: Of a URL that never connects.
NOWHERE = "postgresql+psycopg://clm@127.0.0.1:1/clm"


@pytest.fixture
def direct() -> Iterator[str]:
    with migrated_database() as url:
        yield url


@pytest.fixture
def pooler(direct: str) -> Iterator[str]:
    with pooled(direct) as url:
        yield url


@pytest.mark.parametrize("option", ["", "?prepare_threshold=0", "?prepare_threshold=none"])
def test_statements_of_many_clients_do_not_meet_on_a_connection(pooler: str, option: str) -> None:
    """Six clients, two connections: each statement often enough that a driver would like to prepare it."""
    together = threading.Barrier(6)

    def ask(number: int) -> int:
        with opened(pooler + option) as engine:
            together.wait()
            for n in range(40):
                with reading(engine) as connection:
                    query = sa.text("SELECT CAST(:n AS int) + CAST(:number AS int)")
                    assert connection.execute(query, {"n": n, "number": number}).scalar() == n + number
        return number

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(ask, range(6))) == list(range(6))


def test_models_runs_and_bets_are_kept(pooler: str, tmp_path: Path) -> None:
    with SQLModelRegistry(pooler, tmp_path / "models", series=BTC) as registry:
        for day in range(8):
            version = registry.save_model(candidate(day)).version
            registry.promote(RIDGE, version)
            assert registry.book.record_forecasts([forecast(day)]) == 1
        runs = SQLRunStore(registry.database)
        run = runs.start(runs.create(RunRequest()).run_id, "worker")
        for n in range(8):
            runs.beat(run.fence, {"done": n})
            runs.note(run.fence, "a step", {"n": n})

        ended = runs.finish(run.run_id, RunState.COMPLETED, report={}, fence=run.fence)

        assert ended.state is RunState.COMPLETED
        assert len(registry.get_model_history(RIDGE)) == 8
        assert sum(v.status == "ACTIVE" for v in registry.get_model_history(RIDGE)) == 1
        registry.rollback(RIDGE)


def test_a_snapshot_stands_still_though_others_write(pooler: str) -> None:
    count = sa.text("SELECT count(*) FROM clm_runs")
    with opened(pooler) as engine, closing(Database(pooler)) as database:
        with snapshot(engine) as connection:
            before = connection.execute(count).scalar()
            SQLRunStore(database).create(RunRequest())
            assert connection.execute(count).scalar() == before
        with reading(engine) as connection:
            assert connection.execute(count).scalar() == 1
            # The next transaction is an ordinary one again.
            shown = sa.text(
                "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
            )
            assert tuple(connection.execute(shown).one()) == ("read committed", "off")


def test_an_empty_database_is_migrated_by_one_of_many() -> None:
    with fresh_database() as url, pooled(url) as pooler, ThreadPoolExecutor(4) as pool:
        assert set(pool.map(upgrade, [pooler] * 4)) == {HEAD}


@pytest.mark.parametrize("how", ["refuses", "ignores", "direct"])
def test_what_a_session_is_to_begin_with_holds_in_every_transaction(direct: str, how: str) -> None:
    """A pooler that refuses start-up options, one that drops them without a word, and none at all."""
    ignoring = {"ignore_startup_parameters": "options"} if how == "ignores" else {}
    asked = (
        "?options=-c%20search_path%3Dclm_own%20-c%20statement_timeout%3D4321ms"
        "%20--application-name%3Da%5C%20b"
    )
    with opened(direct) as engine, writing(engine) as connection:
        connection.execute(sa.text("CREATE SCHEMA clm_own"))

    with (
        pooled(direct, **ignoring) as pooler,
        opened((direct if how == "direct" else pooler) + asked) as engine,
    ):
        shown = sa.text(
            "SELECT current_setting('search_path'), current_setting('statement_timeout'), "
            "current_setting('application_name')"
        )
        for way in (reading, writing, snapshot, reading):
            with way(engine) as connection:
                assert tuple(connection.execute(shown).one()) == ("clm_own", "4321ms", "a b")
        if how != "direct":
            # Whoever gets the connection next begins without.
            with opened(pooler) as other, reading(other) as connection:
                assert connection.execute(shown).one()[0] != "clm_own"


def test_a_pooled_database_whose_tables_lie_in_a_schema_of_their_own(direct: str) -> None:
    asked = "?options=-csearch_path=clm_own"
    with pooled(direct) as pooler:
        with opened(pooler) as engine, writing(engine) as connection:
            connection.execute(sa.text("CREATE SCHEMA clm_own"))

        assert upgrade(pooler + asked) == HEAD

        with opened(pooler) as engine, reading(engine) as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM clm_own.clm_runs")).scalar() == 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("prepare_threshold=often", "prepare_threshold='often'; allowed: none"),
        ("prepare_threshold=-1", "prepare_threshold='-1'; allowed: none"),
        ("connect_timeout=soon", "connect_timeout='soon' is not a whole number"),
        ("autocommit=true", "'autocommit' is no option of it; allowed: application_name,"),
        ("row_factory=dict_row", "'row_factory' is no option of it"),
        ("statement_cache_size=0", "'statement_cache_size' is no option of it"),
        ("sslmode=require&sslmode=disable", "sslmode is given twice"),
        ("options=fast", "are no settings; allowed: -c name=value"),
    ],
)
def test_an_option_that_is_none_is_refused_before_anything_connects(option: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        open_engine(f"{NOWHERE}?{option}&password=hunter22secret")

    assert caught.value.field == "db_url"
    assert said in str(caught.value)
    assert "hunter22secret" not in str(caught.value)


@pytest.mark.parametrize("option", ["sslmode=perhaps", "target_session_attrs=best"])
def test_an_option_that_only_the_driver_can_judge_is_a_wrong_setting_too(option: str) -> None:
    """Not "the database did not answer": nobody asked it, and waiting would not help."""
    with (
        opened(f"{NOWHERE}?{option}") as engine,
        pytest.raises(InvalidSetting, match=option.split("=")[0]),
        reading(engine),
    ):
        pass


def test_options_are_of_their_types(direct: str) -> None:
    more = "?prepare_threshold=2&connect_timeout=7&application_name=desk&keepalives=0&client_encoding=latin1"
    with opened(direct + more) as engine, reading(engine) as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        assert raw.prepare_threshold == 2
        assert connection.execute(sa.text("SELECT current_setting('application_name')")).scalar() == "desk"
        assert raw.info.get_parameters()["connect_timeout"] == "7"


@pytest.mark.rehearse
def test_a_whole_cycle_by_way_of_a_pooler(tmp_path: Path) -> None:
    """Migration, a run with its heartbeats, promotions and what is asked afterwards."""
    with fresh_database() as url, pooled(url) as pooler, serving(simulated()) as exchange:
        shell = shell_in(tmp_path, exchange)
        shell.environment.update(CLM_DB_URL=f"{pooler}?prepare_threshold=0", CLM_SYMBOLS="BTCUSDT,ETHUSDT")

        report = shell.json("retrain")

        assert report["report"]["models_trained"], report
        assert not report["report"]["failed_models"], report
        assert shell.json("models")["xgboost"]["active_version"]
        assert shell("verify").returncode == 0
