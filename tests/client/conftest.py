"""Two services for all tests of the client: one that knows this machine's people, one that wants keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clm.bootstrap import Application
from clm.client import Client
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from tests.support.exchange import serving, simulated
from tests.support.loopback import on_loopback
from tests.support.service import settings_for
from tests.support.waiting import LIMIT

READ, OPERATE = "a-key-that-reads-0001", "a-key-that-operates-0001"
#: Where another site's pages come from.
PAGE = "https://desk.example"


@dataclass(frozen=True)
class Service:
    """A running service; application, exchange: to arrange things with, and to compare answers with."""

    url: str
    application: Application
    exchange: ExchangeServer


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Both champions of BTCUSDT reign; ETHUSDT has none. Nobody needs a key."""
    folder = tmp_path_factory.mktemp("service")
    with serving(simulated()) as exchange:
        settings = settings_for(
            exchange, folder, symbols=("BTCUSDT", "ETHUSDT"), rate_limit_per_minute=10_000
        )
        application = Application(settings, interactive=True)
        assert application.run(RunRequest(symbols=("BTCUSDT",))).error is None
        with on_loopback(application) as url:
            yield Service(url, application, exchange)


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Service]:
    """A candle closes every second, and LightGBM forecasts it."""
    with serving(simulated()) as exchange:
        application = Application(settings_for(exchange, tmp_path, models=("lightgbm",)), interactive=True)
        assert application.run(RunRequest()).error is None
        exchange.clock.run_at(3600)
        with on_loopback(application) as url:
            yield Service(url, application, exchange)


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It has no champion and wants a key of everybody; pages of one other origin may call it."""
    with _with_keys(tmp_path_factory.mktemp("locked"), cors_origins=(PAGE,)) as found:
        yield found


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Service]:
    """It lets nobody change more than one thing a minute."""
    with _with_keys(tmp_path, rate_limit_per_minute=1) as found:
        yield found


@contextmanager
def _with_keys(folder: Path, **more: Any) -> Iterator[Service]:
    with serving(simulated()) as exchange:
        settings = settings_for(exchange, folder, api_key=f"read:{READ},operate:{OPERATE}", **more)
        application = Application(settings, interactive=True)
        with on_loopback(application) as url:
            yield Service(url, application, exchange)


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Of the service without keys."""
    with Client(service.url, timeout=LIMIT) as client:
        yield client
