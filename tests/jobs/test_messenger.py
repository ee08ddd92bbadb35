"""Alerts arrive: once per incident and receiver, whoever is down, slow or dies, and never in a flood."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from clm.core.alert import KINDS, Alert, StoredAlert, message_of
from clm.core.errors import InvalidSetting
from clm.jobs.messenger import Messenger
from clm.jobs.receivers import receivers_of
from clm.registry.alerts import SQLAlerts
from clm.registry.database import Database
from clm.registry.outbox import GIVE_UP_AFTER, SQLOutbox
from clm.registry.tables import alerts
from tests.support.databases import database_of
from tests.support.receiver import TOKEN, Receiver, receiving
from tests.support.versions import BTC
from tests.support.waiting import LIMIT, eventually

SOON, SECOND = timedelta(milliseconds=50), timedelta(seconds=1)


def _alert(subject: str = "v1", kind: str = "parity") -> Alert:
    return Alert(kind, BTC, "lightgbm", subject, f"something is the matter with {subject}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with database_of(request.param, tmp_path) as url, closing(Database(url)) as database:
        yield database


@pytest.fixture
def store(database: Database) -> SQLAlerts:
    return SQLAlerts(database)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def _messenger(database: Database, *urls: str, per_hour: int = 20, wait: timedelta = SOON) -> Messenger:
    outbox = SQLOutbox(database, first_wait=wait)
    return Messenger(outbox, receivers_of(urls), per_hour, pause_seconds=0.05)


def _sent_until(messenger: Messenger, receiver: Receiver, messages: int) -> None:
    def sent() -> bool:
        messenger.send_due()
        return len(receiver.got) >= messages

    eventually(sent, lambda: f"{messages} messages instead of {len(receiver.got)}")
    assert len(receiver.got) == messages


def test_a_message_says_what_happened_where_why_and_what_to_do(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    store.record(_alert())

    _messenger(database, receiver.url).send_due()

    (message,) = receiver.got
    assert message["title"] == "CLM: Live and replayed forecasts differ: BTCUSDT 1h lightgbm"
    assert "something is the matter with v1" in message["message"]
    assert "What to do: Do not trust" in message["message"]
    assert f"{datetime.now(UTC):%Y-%m-%d}" in message["message"]
    assert store.recent()[0].delivery == "delivered"


def test_an_incident_is_one_message_until_it_is_over(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    messenger, failing = _messenger(database, receiver.url), _alert("", "training_failed")
    for _ in range(3):
        store.record(failing)
        messenger.send_due()
    assert len(receiver.got) == 1

    store.settle("training_failed", BTC, "lightgbm")
    store.record(failing)
    messenger.send_due()

    assert len(receiver.got) == 2


def test_what_is_over_as_soon_as_it_has_happened_is_told_each_time(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    messenger = _messenger(database, receiver.url)
    for _ in range(2):
        assert store.record(_alert("v1", "promoted"))
        messenger.send_due()

    assert len(receiver.got) == 2


def test_a_receiver_that_is_down_hears_of_it_later(database: Database, store: SQLAlerts) -> None:
    with receiving() as gone:
        port = gone.port
    messenger = _messenger(database, gone.url)
    store.record(_alert())

    messenger.send_due()
    assert store.recent()[0].delivery == "retried"

    with receiving(port) as back:
        _sent_until(messenger, back, 1)
    assert store.recent()[0].delivery == "delivered"


def test_who_has_a_message_is_not_told_again_because_another_is_unwell(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    with receiving() as unwell:
        unwell.status = 500
        messenger = _messenger(database, receiver.url, unwell.url)
        store.record(_alert())
        messenger.send_due()
        assert (len(receiver.got), len(unwell.got), store.recent()[0].delivery) == (1, 0, "retried")

        unwell.status = 200
        _sent_until(messenger, unwell, 1)

    assert len(receiver.got) == 1


@pytest.mark.rehearse
def test_a_receiver_that_hangs_does_not_keep_another_waiting(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    with receiving() as slow:
        slow.hang_seconds = 1000
        store.record(_alert())
        messenger = _messenger(database, slow.url, receiver.url, wait=timedelta(hours=1))
        began = time.monotonic()
        messenger.send_due()

    assert len(receiver.got) == 1
    # It was given up long before it would have answered.
    assert time.monotonic() - began < 300
    (stored,) = store.recent()
    assert stored.delivery == "retried"
    assert [why is None for why in (stored.deliveries or {}).values()].count(True) == 1


def test_waits_grow_and_old_news_is_given_up(database: Database, store: SQLAlerts) -> None:
    with receiving() as gone:
        pass
    messenger = _messenger(database, gone.url, wait=timedelta(seconds=10))
    store.record(_alert())
    for seconds in (10, 20, 40):
        wait, began = timedelta(seconds=seconds), datetime.now(UTC)
        messenger.send_due()
        (stored,) = store.recent()
        # A database's clock may show no more than seconds.
        assert began - SECOND <= stored.next_at - wait <= datetime.now(UTC) + SECOND
        with database.writing() as connection:
            connection.execute(alerts.update().values(next_at=datetime.now(UTC)))

    with database.writing() as connection:
        connection.execute(alerts.update().values(first_at=datetime.now(UTC) - timedelta(hours=25)))
    messenger.send_due()

    assert store.recent()[0].delivery == "given up"


def test_a_flood_is_a_few_messages_and_one_that_sums_up_the_rest(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    messenger = _messenger(database, receiver.url, per_hour=3)
    for number in range(15):
        store.record(_alert(f"v{number}"))

    messenger.send_due()
    store.record(_alert("v99"))
    messenger.send_due()

    assert len(receiver.got) == 4
    assert receiver.titles[-1] == "CLM: and 12 more alerts"
    assert receiver.got[-1]["message"].count("Live and replayed forecasts differ") == 12
    assert [s.delivery for s in store.recent(50)].count("delivered") == 15

    with database.writing() as connection:
        hour_ago = datetime.now(UTC) - timedelta(minutes=61)
        connection.execute(alerts.update().where(alerts.c.sent_at.is_not(None)).values(sent_at=hour_ago))
    messenger.send_due()
    assert len(receiver.got) == 5


def test_of_several_replicas_one_sends(database: Database, store: SQLAlerts, receiver: Receiver) -> None:
    for number in range(8):
        store.record(_alert(f"v{number}"))

    with ExitStack() as replicas:
        for _ in range(3):
            replicas.enter_context(_messenger(database, receiver.url))
        eventually(lambda: len(receiver.got) >= 8, lambda: f"8 messages instead of {receiver.titles}")
        time.sleep(0.5)

    assert len(receiver.got) == len(set(map(str, receiver.got))) == 8


_DIES_WHILE_SENDING = """
import sys
from clm.jobs.messenger import Messenger
from clm.jobs.receivers import receivers_of
from clm.registry.database import Database
from clm.registry.outbox import GIVE_UP_AFTER, SQLOutbox
Messenger(SQLOutbox(Database(sys.argv[1])), receivers_of([sys.argv[2]]), 20).send_due()
"""


def test_what_a_killed_sender_had_taken_is_sent_by_the_next(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    receiver.hang_seconds = LIMIT
    store.record(_alert())
    url = database.engine.url.render_as_string(hide_password=False)
    # It waits as long for the answer: it cannot have given up before it is killed.
    patient = f"{receiver.url}?rto={LIMIT:.0f}"
    child = subprocess.Popen([sys.executable, "-c", _DIES_WHILE_SENDING, url, patient])
    eventually(lambda: receiver.asked, "a message that is being sent")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    receiver.hang_seconds = 0
    messenger = _messenger(database, receiver.url)
    assert messenger.send_due() == 0, "it is still thought to be under way"

    with database.writing() as connection:
        connection.execute(sa.update(alerts).values(next_at=datetime.now(UTC)))
    messenger.send_due()

    assert receiver.got
    assert store.recent()[0].delivery == "delivered"


def test_what_happens_again_while_it_is_sent_is_sent_again(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    store.record(_alert("v1", "promoted"))
    outbox = SQLOutbox(database)
    parcel = outbox.take(20)
    assert parcel is not None
    store.record(_alert("v1", "promoted"))

    outbox.report(parcel, {"json:1": None}, again=False)

    assert store.recent()[0].delivery == "waiting"


def test_a_champion_whose_file_was_set_aside_is_one_message(
    database: Database, store: SQLAlerts, receiver: Receiver
) -> None:
    store.record(_alert("v1", "artifact_quarantined"))
    store.record(Alert("champion_unfit", BTC, "lightgbm", "v1", "v1 cannot serve; v0 takes over"))

    _sent_until(_messenger(database, receiver.url), receiver, 1)

    assert "v0 takes over" in receiver.got[0]["message"]
    assert {s.alert.kind: s.delivery for s in store.recent()} == {
        "artifact_quarantined": "delivered",
        "champion_unfit": "unsent",
    }


def test_no_token_is_in_a_reason_or_a_log(
    database: Database, store: SQLAlerts, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 403
    store.record(_alert())
    with caplog.at_level(logging.INFO):
        _messenger(database, receiver.url).send_due()

    assert "CLM alert_not_delivered" in caplog.text
    assert "403" in str(store.recent()[0].deliveries)
    assert TOKEN not in caplog.text + str(store.recent()) + str(receivers_of([receiver.url]))


@pytest.mark.parametrize("wrong", ["nonsense", f"slack://{TOKEN}", f"nosuch://{TOKEN}"])
def test_an_address_that_cannot_be_is_named_by_its_place_and_scheme_alone(wrong: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        receivers_of(["json://127.0.0.1:9", wrong])

    scheme = wrong.partition("://")[0] if "://" in wrong else "?"
    assert f"number 2 ({scheme}://***)" in str(refused.value)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_what_to_do(kind: str) -> None:
    now = datetime.now(UTC)

    message = message_of([StoredAlert(_alert("v1", kind), now, now, 1)])

    assert KINDS[kind].title in message.title
    assert KINDS[kind].advice in message.body


def test_where_nobody_is_configured_nothing_waits_for_ever(database: Database, store: SQLAlerts) -> None:
    """Rows that wait are never forgotten: they would pile up."""
    store.record(_alert("v1", "promoted"))
    (alert,) = store.recent()
    assert (alert.delivery_to(False), alert.delivery_to(True)) == ("unsent", "waiting")
    with database.writing() as connection:
        connection.execute(alerts.update().values(first_at=alert.first_at - GIVE_UP_AFTER))

    SQLOutbox(database).lapse()

    assert store.recent()[0].delivery == "unsent"
    assert store.forget(timedelta(0)) == 1
