"""Keys, sessions and the audit trail, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from clm.core.access import SESSION_LENGTH, ApiKey, Role, fingerprint
from clm.core.audit import Deed
from clm.core.errors import BadInput, DatabaseUnavailable, KeyExists, KeyNotFound
from clm.registry.access import SQLKeys, SQLSessions
from clm.registry.audit import SQLAudit
from clm.registry.database import Database
from clm.registry.tables import METADATA, audit, sessions

DEED = Deed(
    actor="desk", role="operate", origin="192.0.2.7", action="POST /api/clm/retrain",
    detail={"body": {"force": True}},
)  # fmt: skip


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


class TestKeys:
    def test_a_key_opens_until_it_is_revoked_and_its_name_is_given_once(self, database: Database) -> None:
        keys = SQLKeys(database)
        assert (keys.ring().keys, keys.ring().closed) == ((), False)

        key, secret = keys.add("desk", Role.OPERATE)
        found = keys.ring().find(secret)
        keys.revoke("desk")

        assert secret.startswith("clm_")
        assert len(secret) > 40
        assert found == key == ApiKey("desk", Role.OPERATE, fingerprint(secret))
        assert keys.ring().find(secret) is None
        assert keys.ring().closed
        assert [(k.key.name, k.revoked_at is not None) for k in keys.stored()] == [("desk", True)]
        with pytest.raises(KeyExists, match="desk"):
            keys.add("desk", Role.READ)
        with pytest.raises(KeyNotFound, match="desk"):
            keys.revoke("desk")

    @pytest.mark.parametrize("name", ["", "local", "stranger", "a b", "x" * 51, "CLM_API_KEY#1", "cli:me"])
    def test_a_name_that_could_be_taken_for_another_is_refused(self, database: Database, name: str) -> None:
        with pytest.raises(BadInput, match="letters, digits"):
            SQLKeys(database).add(name, Role.READ)

    def test_keys_of_the_settings_are_on_the_ring_and_in_no_table(self, database: Database) -> None:
        configured = ApiKey("CLM_API_KEY#1", Role.ADMIN, fingerprint("a-secret-of-mine-0001"))
        keys = SQLKeys(database, (configured,))

        assert keys.ring().keys == (configured,)
        assert keys.ring().closed
        assert keys.stored() == []


class TestSessions:
    def test_a_session_leads_to_its_key_until_it_ends(self, database: Database) -> None:
        key, _ = SQLKeys(database).add("desk", Role.READ)
        store = SQLSessions(database)

        token, other = store.begin(key), store.begin(key)
        store.end(token)

        assert store.key_of(other) == key.sha256
        assert store.key_of(token) is store.key_of("made up") is None

    def test_revoking_a_key_ends_its_sessions_and_no_others(self, database: Database) -> None:
        keys, store = SQLKeys(database), SQLSessions(database)
        tokens = [store.begin(keys.add(name, Role.READ)[0]) for name in ("one", "two")]

        keys.revoke("one")

        assert [store.key_of(token) is not None for token in tokens] == [False, True]

    def test_after_twelve_hours_it_is_over_and_swept_out_by_the_next(self, database: Database) -> None:
        key, _ = SQLKeys(database).add("desk", Role.READ)
        store = SQLSessions(database)
        old = store.begin(key)
        with database.writing() as connection:
            before = connection.execute(sa.select(sessions.c.expires_at)).scalar_one() - SESSION_LENGTH
            connection.execute(sessions.update().values(expires_at=before - timedelta(seconds=1)))

        assert store.key_of(old) is None
        store.begin(key)
        with database.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(sessions)).scalar() == 1


def test_neither_keys_nor_tokens_are_anywhere_in_the_database(database: Database) -> None:
    key, secret = SQLKeys(database).add("desk", Role.READ)
    token = SQLSessions(database).begin(key)

    with database.reading() as connection:
        stored = str([connection.execute(sa.select(table)).all() for table in METADATA.sorted_tables])

    assert fingerprint(secret) in stored
    assert secret not in stored
    assert token not in stored


class TestAudit:
    def test_a_deed_is_on_record_before_its_result(self, database: Database) -> None:
        trail = SQLAudit(database)

        number = trail.begin(DEED)
        (begun,) = trail.recent()
        trail.end(number, "202 run_id=r1")
        trail.begin(DEED)
        newest, done = trail.recent()

        assert (begun.number, begun.deed, begun.result) == (number, DEED, None)
        assert begun.at.tzinfo is not None
        assert (done.result, newest.result) == ("202 run_id=r1", None)
        assert trail.recent(1) == [newest]

    def test_the_first_result_stands_and_nothing_is_altered_or_taken_out(self, database: Database) -> None:
        trail = SQLAudit(database)
        number = trail.begin(DEED)
        trail.end(number, "202")

        trail.end(number, "500")
        for change in (
            audit.update().values(result="500"), audit.update().values(actor="nobody"), audit.delete(),
        ):  # fmt: skip
            with pytest.raises((DBAPIError, DatabaseUnavailable)), database.writing() as connection:
                connection.execute(change)

        assert [row.result for row in trail.recent()] == ["202"]

    def test_whatever_was_asked_for_can_be_kept(self, database: Database) -> None:
        trail = SQLAudit(database)
        asked = {"nul": "a\x00b", "half": "\ud800", "odd": float("nan"), "long": "ä" * 9000}
        deed = Deed(
            actor="x" * 300, role="read", origin="::1" * 90, action="POST /" + "y" * 900, detail=asked
        )

        trail.end(trail.begin(deed), "z" * 900)

        (row,) = trail.recent()
        assert len(row.deed.actor) == len(row.deed.origin) == 100
        assert len(row.deed.action) == len(row.result or "") == 300
        assert row.deed.detail["characters"] > 9000
