"""The live shadow's process: told when to tick, started anew when killed, gone when its service is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
from tests.support.waiting import eventually

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


def _once_made(application: Application, forecasts: int) -> list[Source]:
    """Where they come from, as soon as there are so many."""

    def made() -> list[Source] | None:
        return found if len(found := _forecasts(application)) == forecasts else None

    return eventually(made, lambda: f"{forecasts} forecasts instead of {_forecasts(application)}", pause=0.1)


def test_a_tick_forecasts_in_a_process_of_its_own(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch

    watch.tick()
    _once_made(application, 1)
    assert watch.pid != os.getpid()
    exchange.clock.advance(timedelta(hours=1))
    watch.tick()

    assert _once_made(application, 2) == [Source.LIVE] * 2


def test_killed_it_is_started_anew_and_makes_up_for_what_was_missed(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch
    watch.tick()
    _once_made(application, 1)
    killed = watch.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    exchange.clock.advance(timedelta(hours=3))
    eventually(lambda: watch.exit_code is not None, "the end of the process")

    watch.tick()

    assert _once_made(application, 4) == [Source.LIVE, Source.LATE, Source.LATE, Source.LIVE]
    assert watch.pid != killed


def test_renewed_its_process_ends_and_the_next_tick_is_anothers(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch
    watch.renew()
    watch.tick()
    _once_made(application, 1)
    before = watch.pid

    watch.renew()

    eventually(lambda: not Path(f"/proc/{before}").exists(), "the end of the process")
    assert (watch.pid, watch.exit_code) == (None, None)
    exchange.clock.advance(timedelta(hours=1))
    watch.tick()
    assert _once_made(application, 2) == [Source.LIVE] * 2
    assert watch.pid != before


_SERVICE = """
import sys, time
from clm.bootstrap import Application
from clm.settings import Settings
application = Application(Settings.model_validate_json(sys.argv[1]))
application.live_watch.tick()
print(application.live_watch.pid, flush=True)
time.sleep(1000)
"""


def test_it_ends_when_its_service_is_killed(trained: Trained) -> None:
    settings = trained[0].settings.model_dump_json()
    service = subprocess.Popen([sys.executable, "-c", _SERVICE, settings], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    child = int(service.stdout.readline())

    service.kill()
    service.communicate()

    eventually(lambda: not Path(f"/proc/{child}").exists(), "the end of the process")


def test_an_exchange_that_is_down_ends_nothing(trained: Trained) -> None:
    application, exchange = trained
    watch = application.live_watch
    watch.tick()
    _once_made(application, 1)
    pid = watch.pid
    exchange.set_faults("500:1")
    exchange.clock.advance(timedelta(hours=1))

    watch.tick()
    eventually(lambda: 500 in {seen.status for seen in exchange.requests}, "a request in vain")
    time.sleep(0.3)

    assert watch.pid == pid
    assert Path(f"/proc/{pid}").exists()


@pytest.mark.rehearse
def test_the_service_ticks_at_each_close_and_retrains_at_each_slot_of_an_accelerated_exchange(
    tmp_path: Path,
) -> None:
    """Two days in less than a minute: an hour a second, where the machine keeps up with that."""
    with running_service(tmp_path, models=("lightgbm",)) as (application, exchange):
        settings = settings_for(
            exchange, tmp_path, models=("lightgbm",), live_shadow=True, schedule="0 */6 * * *",
            retrain_interval_days=0.5,
        )  # fmt: skip
        assert application.run(RunRequest()).error is None
        with TestClient(create_app(Application(settings, interactive=True))):
            exchange.clock.run_at(3600)

            def lived() -> bool:
                made = _forecasts(application)
                if len(made) >= 20 and made.count(Source.LIVE) < 12:
                    # What comes an hour late is no live forecast any more.
                    exchange.clock.run_at(600)
                return len(made) >= 20 and made.count(Source.LIVE) >= 12

            eventually(lived, lambda: f"more than {_forecasts(application)}", pause=0.1)
            eventually(
                lambda: "schedule" in {run.request.requested_by for run in application.runs.recent()},
                "a run at a slot",
            )
            exchange.clock.run_at(0)

        trained_at = application.registry.get_model_history("lightgbm")[0].trained_at
        assert trained_at.year == exchange.clock.now().year
