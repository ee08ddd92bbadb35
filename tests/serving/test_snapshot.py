"""Whether an answer may be used follows from the snapshot and the exchange's time, up to each limit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clm.serving.snapshot import Limits, Served, Snapshot, reasons
from tests.support.versions import BTC

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
LIMITS = Limits(model_age=90 * DAY, data_age=HOUR / 2)
SNAPSHOT = Snapshot(series=BTC, open_time=NOW - 1.5 * HOUR, close=60_000.0, variance=4e-5, known=True)
SERVED = Served(
    model="xgboost", version="v20240303_120000", sha256="a" * 64, trained_at=NOW - 90 * DAY,
    champion_since=NOW - 89 * DAY, state="healthy", forecast=0.001, score=1.5, limit=1.5,
)  # fmt: skip


def test_at_every_limit_it_may_still_be_used() -> None:
    assert reasons(SERVED, SNAPSHOT, NOW, LIMITS) == []


@pytest.mark.parametrize(
    ("changed", "opened", "said"),
    [
        ({}, NOW - 1.5 * HOUR - SECOND, "stale_data"),
        ({}, None, "stale_data"),
        ({"trained_at": NOW - 90 * DAY - SECOND}, SNAPSHOT.open_time, "stale_model"),
        ({"score": 1.51}, SNAPSHOT.open_time, "out_of_distribution"),
        ({"state": "worse_than_zero"}, SNAPSHOT.open_time, "worse_than_zero"),
        ({"problem": "gap_in_window"}, SNAPSHOT.open_time, "gap_in_window"),
    ],
)
def test_beyond_any_of_them_it_may_not_and_says_which(
    changed: dict[str, Any], opened: datetime | None, said: str
) -> None:
    assert reasons(replace(SERVED, **changed), replace(SNAPSHOT, open_time=opened), NOW, LIMITS) == [said]


@pytest.mark.parametrize("late", [0, 1, 3600])
def test_once_its_target_has_closed_it_may_not_be_used_by_a_second(late: int) -> None:
    made = NOW - HOUR - late * SECOND
    patient = Limits(model_age=90 * DAY, data_age=DAY)

    def said(open_time: datetime) -> list[str]:
        return reasons(SERVED, replace(SNAPSHOT, open_time=open_time), NOW, patient)

    assert said(made - HOUR) == ["target_closed"]
    assert said(NOW - 2 * HOUR + SECOND) == []


def test_who_reigns_is_not_known_before_anybody_has_looked() -> None:
    assert reasons(None, replace(SNAPSHOT, known=False), NOW, LIMITS) == ["stale_data"]


def test_nobody_and_an_exchange_that_was_never_heard_are_reasons_too() -> None:
    assert reasons(None, SNAPSHOT, NOW, LIMITS) == ["no_champion"]
    assert reasons(SERVED, SNAPSHOT, None, LIMITS) == ["stale_data"]
