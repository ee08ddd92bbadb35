"""Databases as an older CLM left them, and what a sound one refuses."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from clm.registry.engine import opened, reading, writing
from clm.registry.migrate import VERSION_TABLE, migrations
from tests.support.rows import Contents, contents, fill

#: What each table refuses, as long as it is there.
FORBIDDEN = {
    "clm_decisions": ("UPDATE clm_decisions SET reason = 'other'", "DELETE FROM clm_decisions"),
    "clm_evidence": ("UPDATE clm_evidence SET gain = 1", "DELETE FROM clm_evidence"),
    "clm_pooled_bets": ("UPDATE clm_pooled_bets SET sha256 = 'other'", "DELETE FROM clm_pooled_bets"),
    "clm_trials": ("UPDATE clm_trials SET reason = 'other'", "DELETE FROM clm_trials"),
    "clm_forecasts": (
        "UPDATE clm_forecasts SET forecast = 1",
        "UPDATE clm_forecasts SET actual = 1 WHERE actual IS NOT NULL",
        "DELETE FROM clm_forecasts",
    ),
    "clm_audit": ("UPDATE clm_audit SET actor = 'other'", "DELETE FROM clm_audit"),
    "clm_model_versions": ("UPDATE clm_model_versions SET status = 'ACTIVE'",),
}


def upgrade_to(db_url: str, revision: str) -> None:
    """As far as an older CLM would have."""
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    config.attributes["version_table"] = VERSION_TABLE
    with opened(db_url) as engine, writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def filled(db_url: str) -> str:
    """The URL, rows in every table that was empty."""
    with opened(db_url) as engine, writing(engine) as connection:
        fill(connection)
    return db_url


def contents_of(db_url: str) -> Contents:
    """Everything that is in it."""
    with opened(db_url) as engine, reading(engine) as connection:
        return contents(connection)


def assert_guarded(db_url: str) -> None:
    """What must not be altered cannot be, and there is one champion at most."""
    filled(db_url)
    with opened(db_url) as engine:
        with reading(engine) as connection:
            there = set(sa.inspect(connection).get_table_names())
        for table in there & FORBIDDEN.keys():
            for statement in FORBIDDEN[table]:
                with pytest.raises(DBAPIError), engine.connect() as connection:
                    connection.execute(sa.text(statement))
