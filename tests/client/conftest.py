"""Two services for all tests of the client: one that knows this machine's people, one that wants keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from clm.bootstrap import Application
from clm.client import Client
from clm.core.runs import RunRequest
from clm.exchange.server import ExchangeServer
from tests.support.exchange import serving, simulated
from tests.support.loopback import on_loopback
from tests.support.service import settings_for

READ, OPERATE = "a-key-that-reads-0001", "a-key-that-operates-0001"
#: Of what changes something, by the service with keys.
PER_MINUTE = 20


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


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It has no champion, wants a key of everybody, and lets change only so much a minute."""
    folder = tmp_path_factory.mktemp("locked")
    with serving(simulated()) as exchange:
        keys = f"read:{READ},operate:{OPERATE}"
        settings = settings_for(exchange, folder, api_key=keys, rate_limit_per_minute=PER_MINUTE)
        application = Application(settings, interactive=True)
        with on_loopback(application) as url:
            yield Service(url, application, exchange)


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Of the service without keys."""
    with Client(service.url) as client:
        yield client
