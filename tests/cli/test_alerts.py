"""`clm alerts`, and whether the way to the receivers works, as a user types it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import sqlite_in
from tests.support.exchange import serving, simulated
from tests.support.receiver import TOKEN, receiving
from tests.support.shell import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with serving(simulated()) as exchange:
        yield shell_in(tmp_path, exchange)


def test_a_test_message_reaches_each_receiver_and_who_does_not_take_it_is_named(shell: Shell) -> None:
    with receiving() as well, receiving() as unwell:
        unwell.status = 500
        alone = shell("alerts", "test", CLM_ALERT_URLS=well.url)
        both = shell("alerts", "test", "--json", CLM_ALERT_URLS=f"{well.url},{unwell.url}")

    assert (alone.returncode, both.returncode) == (0, 1)
    assert alone.stdout.endswith(": delivered\n")
    assert well.titles == ["CLM: a test message"] * 2
    assert both.stdout.count('"delivered": true') == both.stdout.count('"delivered": false') == 1
    assert TOKEN not in alone.stdout + both.stdout + both.stderr


def test_without_a_receiver_it_says_what_to_set(shell: Shell) -> None:
    told = shell("alerts", "test")

    assert told.returncode != 0
    assert "CLM_ALERT_URLS" in told.stderr


def test_what_happened_is_listed(shell: Shell) -> None:
    sqlite_in(shell.folder)
    assert "There was nothing to hear of." in shell("alerts").stdout
    assert shell("retrain", "--models", "lightgbm").returncode == 0

    (alert,) = shell.json("alerts")

    assert (alert["kind"], alert["model_type"], alert["delivery"]) == ("promoted", "lightgbm", "unsent")
    assert shell.json("alerts", "list", "--limit", "1") == [alert]
    assert "promoted" in shell("alerts").stdout
    # Where somebody is to be told, it waits until they are.
    assert shell.json("alerts", CLM_ALERT_URLS="json://127.0.0.1:9")[0]["delivery"] == "waiting"
