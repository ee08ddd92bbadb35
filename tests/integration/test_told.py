"""Incidents that only a working service meets, told to a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm.bootstrap import Application
from clm.core.runs import RunKind, RunRequest, RunState
from clm.registry.tables import alerts
from tests.support.candles import random_walk
from tests.support.exchange import market_of, serving
from tests.support.receiver import Receiver, receiving
from tests.support.service import running_service, settings_for

MODELS = ("lightgbm",)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def _told(application: Application, receiver: Receiver) -> list[tuple[str, str]]:
    """What has been heard: title and body, but for promotions."""
    application.messenger.send_due()
    heard = [(message["title"], message["message"]) for message in receiver.got]
    return [(title, body) for title, body in heard if "promoted" not in title]


def test_candles_that_stop_coming_are_told_once_until_they_come_again(
    tmp_path: Path, receiver: Receiver
) -> None:
    more = {"models": MODELS, "live_shadow": True, "alert_urls": receiver.url}
    with running_service(tmp_path, **more) as (application, exchange):
        application.run(RunRequest())
        application.look_for_stale_data()
        assert _told(application, receiver) == []

        exchange.clock.advance(timedelta(hours=5))
        application.look_for_stale_data()
        application.look_for_stale_data()

        ((title, body),) = _told(application, receiver)
        assert title == "CLM: No new candles: BTCUSDT 1h"
        assert "The newest candle of BTCUSDT 1h closed at 2024-06-01 00:00 UTC" in body
        application.data_client(application.series[0]).load_recent_data(1)
        application.look_for_stale_data()
        (stale,) = (s for s in application.alerts.recent() if s.alert.kind == "data_stale")
        assert stale.closed_at is not None


def test_a_market_that_moved_away_is_told_with_what_moved(tmp_path: Path, receiver: Receiver) -> None:
    candles = random_walk(24 * 200, seed=3)
    after = candles.index >= candles.index[0] + pd.Timedelta(days=165)
    closes = np.log(candles["close"].to_numpy())
    steps = np.diff(closes, prepend=closes[0]) * np.where(after, 4.0, 1.0)
    for name in ("open", "high", "low", "close"):
        candles[name] = np.exp(closes[0] + np.cumsum(steps))
    begin = (candles.index[0] + pd.Timedelta(days=160)).to_pydatetime()
    more = {"models": MODELS, "training_lookback_days": 150, "retrain_interval_days": 90}
    with serving(market_of(candles), begin) as exchange:
        settings = settings_for(exchange, tmp_path, alert_urls=receiver.url, **more)
        with Application(settings, interactive=True) as application:
            application.run(RunRequest())
            exchange.clock.advance(timedelta(days=12))
            application.run(RunRequest())

            ((title, body),) = _told(application, receiver)

    assert title == "CLM: The market moved away from the training data: BTCUSDT 1h lightgbm"
    assert "Regime shift" in body


def test_a_training_that_fails_is_told_with_its_cause_once_until_one_succeeds(
    tmp_path: Path, receiver: Receiver
) -> None:
    with running_service(tmp_path, models=MODELS, alert_urls=receiver.url) as (application, _):
        never = RunRequest(force=True, params={"lightgbm": {"lambda_l1": 10**6}})
        for _ in range(2):
            application.run(never)

        ((title, body),) = _told(application, receiver)

        assert title == "CLM: Training failed: BTCUSDT 1h lightgbm"
        assert "could not be trained. Why: " in body
        application.run(RunRequest(force=True))
        (failed,) = (s for s in application.alerts.recent() if s.alert.kind == "training_failed")
        assert (failed.times, failed.closed_at is not None) == (2, True)


def test_a_service_that_is_stopped_under_a_run_tells_nobody_and_a_worker_that_dies_does_until_it_ends(
    tmp_path: Path, receiver: Receiver
) -> None:
    with running_service(tmp_path, models=MODELS, alert_urls=receiver.url) as (application, _):
        runs = application.runs
        stopped = runs.start(runs.create(RunRequest()).run_id, "here")
        runs.interrupt(stopped.run_id, "the service was stopped", planned=True)
        assert _told(application, receiver) == []

        runs.requeue(stopped.run_id)
        runs.start(stopped.run_id, "here")
        runs.interrupt(stopped.run_id, "its worker is gone")
        ((title, _),) = _told(application, receiver)
        assert title == "CLM: A run was interrupted"

        runs.requeue(stopped.run_id)
        runs.start(stopped.run_id, "here")
        runs.finish(stopped.run_id, RunState.COMPLETED, report={})
        assert application.alerts.recent()[0].closed_at is not None


def test_old_alerts_are_forgotten_but_for_those_that_somebody_waits_for(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, _):
        runs, database = application.runs, application.registry.database
        for _ in range(3):
            run = runs.start(runs.create(RunRequest(kind=RunKind.RETRAIN)).run_id, "here")
            runs.interrupt(run.run_id, "its worker is gone")
        old = datetime.now(UTC) - timedelta(days=91)
        newest, waiting, sent = (stored.alert.incident for stored in application.alerts.recent())
        with database.writing() as connection:
            change = alerts.update()
            connection.execute(change.where(alerts.c.incident != newest).values(last_at=old))
            connection.execute(change.where(alerts.c.incident != waiting).values(next_at=None))

        application.look_after_alerts()

        assert {stored.alert.incident for stored in application.alerts.recent()} == {newest, waiting}
        assert sent not in (newest, waiting)
