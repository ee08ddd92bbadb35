"""The live shadow's process: told when to tick, started anew when killed, gone when its service is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from tests.support.service import running_service, settings_for

Trained = tuple[Application, ExchangeServer]


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Trained]:
    """An application whose first champion reigns; its exchange stands still."""
    with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
        assert application.run(RunRequest()).error is None
        yield application, exchange


def _forecasts(application: Application) -> list[Source]:
    champion = application.registry.get_active("lightgbm")
    assert champion is not None
    stored = application.registry.book.forecasts("lightgbm", champion.version)
    return [f.source for f in stored if f.source in (Source.LIVE, Source.LATE)]


def _eventually(true: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def test_a_tick_forecasts_in_a_process_of_its_own(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch

    watch.tick()
    assert _eventually(lambda: len(_forecasts(application)) == 1)
    assert watch.pid != os.getpid()
    exchange.clock.advance(timedelta(hours=1))
    watch.tick()

    assert _eventually(lambda: _forecasts(application) == [Source.LIVE] * 2)


def test_killed_it_is_started_anew_and_makes_up_for_what_was_missed(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch
    watch.tick()
    assert _eventually(lambda: len(_forecasts(application)) == 1)
    killed = watch.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    exchange.clock.advance(timedelta(hours=3))
    time.sleep(0.2)

    watch.tick()

    assert _eventually(lambda: len(_forecasts(application)) == 4)
    assert _forecasts(application) == [Source.LIVE, Source.LATE, Source.LATE, Source.LIVE]
    assert watch.pid != killed


_SERVICE = """
import sys, time
from clm.bootstrap import Application
from clm.settings import Settings
application = Application(Settings.model_validate_json(sys.argv[1]))
application.live_watch.tick()
print(application.live_watch.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_when_its_service_is_killed(trained: Trained) -> None:
    settings = trained[0].settings.model_dump_json()
    service = subprocess.Popen([sys.executable, "-c", _SERVICE, settings], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    child = int(service.stdout.readline())

    service.kill()
    service.communicate()

    assert _eventually(lambda: not Path(f"/proc/{child}").exists())


def test_an_exchange_that_is_down_ends_nothing(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch
    watch.tick()
    assert _eventually(lambda: len(_forecasts(application)) == 1)
    pid = watch.pid
    exchange.set_faults("500:1")
    exchange.clock.advance(timedelta(hours=1))

    watch.tick()
    time.sleep(0.5)

    assert watch.pid == pid
    assert Path(f"/proc/{pid}").exists()


def test_the_service_ticks_at_each_close_and_retrains_at_each_slot_of_an_accelerated_exchange(
    tmp_path: Path,
) -> None:
    """Two days in less than a minute: an hour a second."""
    with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
        settings = settings_for(
            exchange, tmp_path, models=("lightgbm",), live_shadow=True, schedule="0 */6 * * *",
            retrain_interval_days=0.5,
        )  # fmt: skip
        assert application.run(RunRequest()).error is None
        with TestClient(create_app(Application(settings, interactive=True))):
            exchange.clock.run_at(3600)
            assert _eventually(lambda: len(_forecasts(application)) >= 20, 60)
            assert _eventually(
                lambda: "schedule" in {run.request.requested_by for run in application.runs.recent()}
            )
            exchange.clock.run_at(0)

        assert _forecasts(application).count(Source.LIVE) >= 12
        trained_at = application.registry.get_model_history("lightgbm")[0].trained_at
        assert trained_at.year == exchange.clock.now().year
