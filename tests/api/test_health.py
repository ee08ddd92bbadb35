"""Whether a service can do its work: each reason is a sentence, and probes wear nothing out."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from clm.api import clm_routes, health
from clm.api.app import create_app
from clm.api.health import Readiness
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.jobs.schedule import Schedule
from tests.api.conftest import ApplicationOf
from tests.support.exchange import serving
from tests.support.service import caller, running_service, settings_for
from tests.support.waiting import LIMIT, eventually

Service = tuple[Application, ExchangeServer]
HANGS = "no answer within 3 seconds"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, models=("lightgbm",)) as running:
        yield running


def _look(application: Application, schedule: Schedule | None = None) -> dict[str, tuple[bool, str]]:
    """A fresh look, as nobody had ever looked; once every check has come to something."""
    readiness = Readiness(application, lambda: schedule)

    def whole() -> dict[str, tuple[bool, str]] | None:
        found = {name: (check.ok, check.reason) for name, check in readiness.look().items()}
        return found if all(reason != HANGS for _, reason in found.values()) else None

    return eventually(whole, lambda: f"an end of {readiness.look()}", pause=0.1)


def _once_ready(client: TestClient) -> Any:
    """Its answer; where a check takes more than three seconds, as anything may anywhere, a later one."""

    def well() -> Any:
        return answer if (answer := client.get("/health/ready")).status_code == 200 else None

    return eventually(well, lambda: client.get("/health/ready").text, pause=0.1)


def test_a_service_that_has_begun_is_alive_and_ready_and_says_why(service: Service) -> None:
    with TestClient(create_app(service[0])) as client:
        live, ready = client.get("/health/live"), _once_ready(client)

    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert set(ready.json()["checks"]) == {
        "database", "champions", "candles", "scheduler", "live_shadow", "disk",
    }  # fmt: skip
    for check in ready.json()["checks"].values():
        assert check["ok"] is True
        assert " " in check["reason"]


def test_strangers_hear_no_more_than_whether(service: Service, application_of: ApplicationOf) -> None:
    application, _ = service
    _, key = application.keys.add("probe", Role.READ)
    well, ill = create_app(application), create_app(application_of(_away(application)))
    _once_ready(caller(well))

    found = [
        (answer.status_code, answer.json())
        for answer in (caller(a).get("/health/ready") for a in (well, ill))
    ]
    assert found == [(200, {"status": "ready"}), (503, {"status": "not ready"})]
    assert "checks" in caller(well, key).get("/health/ready").json()
    assert "checks" in caller(ill, key).get("/health/ready").json()


def _away(application: Application) -> Any:
    """The same settings, with an exchange that is not there."""
    return application.settings.model_copy(update={"binance_url": "http://127.0.0.1:9"})


def test_a_database_that_is_away_is_said_also_to_who_was_known_before(service: Service) -> None:
    application, _ = service
    app = create_app(application)
    _, key = application.keys.add("probe", Role.READ)
    _once_ready(caller(app, key))
    application.registry.database.close()
    database = application.settings.db_url.removeprefix("sqlite:///")
    # The same file, with something else in it; of one that is replaced nothing is read.
    for file in Path(database).parent.glob("clm.db-*"):
        file.unlink()
    Path(database).write_bytes(b"no database any more" * 100)
    app.state.clm_readiness = Readiness(application, lambda: None)

    known, strange = caller(app, key).get("/health/ready"), caller(app).get("/health/ready")

    assert (known.status_code, known.json()["checks"]["database"]["ok"]) == (503, False)
    assert "not a database" in known.json()["checks"]["database"]["reason"]
    assert strange.json() == {"status": "not ready"}
    assert caller(app).get("/health/live").status_code == 200


@pytest.mark.rehearse
def test_a_database_that_hangs_keeps_no_probe_waiting_and_is_asked_once_at_a_time(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://clm@127.0.0.1:{silent.getsockname()[1]}/clm"
        application = Application(service[0].settings.model_copy(update={"db_url": url}))
        readiness = Readiness(application, lambda: None)
        first = readiness.look()
        # A look is good for three seconds.
        eventually(lambda: readiness.look() is not first, "another look", pause=0.1)
        waiting = [thread for thread in threading.enumerate() if thread.name == "readiness"]
        application.close()
    for thread in waiting:
        thread.join(LIMIT)

    assert not any(thread.is_alive() for thread in waiting)
    assert first["database"].reason == first["champions"].reason == HANGS
    assert first["disk"].ok
    # Besides the two, that of the candles, which belong to the series that are watched.
    assert len(waiting) == 3


class TestChampions:
    @pytest.mark.rehearse
    def test_load_once_and_again_when_their_file_is_another(self, service: Service) -> None:
        application, _ = service
        assert _look(application)["champions"] == (True, "there is no champion yet")
        assert application.run(RunRequest()).error is None
        readiness = Readiness(application, lambda: None)
        eventually(lambda: readiness.look()["champions"].reason == "1 champions load", "a look that is whole")
        (file,) = application.settings.model_dir.glob("lightgbm_*")
        raw = file.read_bytes()

        file.write_bytes(b"x" + raw[1:])
        said = "not the one that was registered"
        eventually(lambda: said in readiness.look()["champions"].reason, said, pause=0.1)
        assert not readiness.look()["champions"].ok
        file.write_bytes(raw)

        eventually(lambda: readiness.look()["champions"].ok, lambda: readiness.look()["champions"], pause=0.1)

    def test_that_are_missing_are_named(self, service: Service) -> None:
        application, _ = service
        assert application.run(RunRequest()).error is None
        (file,) = application.settings.model_dir.glob("lightgbm_*")
        file.rename(file.with_suffix(".away"))

        ok, reason = _look(application)["champions"]

        assert (ok, file.name in reason) == (False, True)


class TestCandles:
    def test_that_are_fresh_do_without_the_exchange(
        self, tmp_path: Path, application_of: ApplicationOf
    ) -> None:
        now = datetime.now(UTC)
        market = simulate_market(("BTCUSDT",), "1h", start=now - timedelta(days=9), end=now, seed=1, signal=0)
        with (
            serving(market, now=now) as exchange,
            Application(settings_for(exchange, tmp_path)) as application,
        ):
            application.data_client(application.series[0]).load_recent_data(2)
            away = application_of(_away(application))

        ok, reason = _look(away)["candles"]

        assert (ok, reason.startswith("the newest stored candles close at")) == (True, True)

    def test_that_are_old_need_an_exchange_that_answers(
        self, service: Service, application_of: ApplicationOf
    ) -> None:
        application, _ = service
        assert application.run(RunRequest()).error is None
        assert _look(application)["candles"] == (True, "the exchange answers")

        ok, reason = _look(application_of(_away(application)))["candles"]

        assert (ok, "http://127.0.0.1:9 cannot be reached" in reason) == (False, True)

    def test_are_asked_for_once_by_however_many_probes(self, service: Service) -> None:
        application, exchange = service
        readiness = Readiness(application, lambda: None)
        eventually(lambda: readiness.look()["candles"].ok, lambda: readiness.look()["candles"], pause=0.1)

        for _ in range(50):
            assert readiness.look()["candles"].ok

        assert sum("ping" in seen.path for seen in exchange.requests) == 1

    def test_of_an_exchange_that_hangs_keep_no_probe_waiting(self, service: Service) -> None:
        application, exchange = service
        # Longer than the look is waited for.
        exchange.exchange.latency = 2 * LIMIT

        ok, reason = _look(application)["candles"]

        assert (ok, "cannot be reached" in reason) == (False, True)


class TestTheSchedule:
    def test_has_looked_lately_or_the_service_is_not_ready(self, service: Service) -> None:
        application, _ = service
        schedule = Schedule(
            application.data_client(application.series[0]).server_time, lambda: timedelta(hours=1), ()
        )
        assert _look(application, None)["scheduler"] == (True, "off: this process keeps no schedule")
        assert _look(application, schedule)["scheduler"] == (True, "the schedule has just begun")

        schedule.look()
        assert _look(application, schedule)["scheduler"][0]
        schedule.looked_at = time.monotonic() - 181

        ok, reason = _look(application, schedule)["scheduler"]
        assert (ok, re.search(r"looked at the exchange's clock \d{3} seconds ago", reason) is not None) == (
            False,
            True,
        )

    def test_of_a_running_service_is_the_one_that_is_looked_at(self, service: Service) -> None:
        app = create_app(service[0])
        with TestClient(app) as client:
            eventually(lambda: app.state.clm_schedule.looked_at is not None, "a look of the schedule")

            reason = _once_ready(client).json()["checks"]["scheduler"]["reason"]

        assert re.search(r"looked at the exchange's clock \d+ seconds ago", reason)


def test_the_live_shadows_process_is_alive_or_has_not_begun_and_one_that_died_is_started_anew(
    tmp_path: Path,
) -> None:
    with running_service(tmp_path, live_shadow=True) as (application, _):
        assert _look(application)["live_shadow"] == (True, "begins with the first candle close")
        watch = application.live_watch
        watch.tick()
        assert _look(application)["live_shadow"] == (True, "the live shadow's process is alive")
        killed = watch.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: watch.exit_code is not None, "the end of the process")

        assert _look(application)["live_shadow"] == (
            False, "the live shadow's process ended with exit code -9",
        )  # fmt: skip
        watch.revive()
        assert _look(application)["live_shadow"][0]
        assert watch.pid != killed


def test_too_little_space_in_any_folder_is_said_with_the_folder(
    service: Service, application_of: ApplicationOf
) -> None:
    application, _ = service
    assert _look(application)["disk"][0]

    for least, expected in (1e12, False), (0, True):
        settings = application.settings.model_copy(update={"min_free_mb": least})
        ok, reason = _look(application_of(settings))["disk"]

        assert ok is expected
        assert str(application.settings.model_dir.parent) in reason or least == 0


def test_a_host_application_may_mount_it_too(service: Service) -> None:
    host = FastAPI()
    host.state.clm = service[0]
    host.include_router(clm_routes.router)
    host.include_router(health.router)

    checks = caller(host).get("/health/ready").json()["checks"]

    assert checks["scheduler"]["reason"] == "off: this process keeps no schedule"
