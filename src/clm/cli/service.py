"""The service, and the exchange to rehearse on."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clm.cli.door import take
from clm.cli.output import require_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from clm.bootstrap import Application

_HAND_OVER_SECONDS = 0.0005
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
#: Seconds for answers under way when the service is told to stop; runs have their own grace.
_LAST_ANSWERS = 3


def serve(
    host: Annotated[str | None, typer.Option(help="Address; default: CLM_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: CLM_PORT.")] = None,
) -> None:
    """Run the service: the dashboard at /, REST under /api/clm, Swagger at /docs, the scheduled job."""
    import uvicorn

    from clm.api.app import create_app
    from clm.bootstrap import Application
    from clm.cli.conversation import Bounded
    from clm.core.runs import RunRequest
    from clm.settings import Settings
    from clm.telemetry import set_up_logging

    given = {"host": host, "port": port}
    settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
    # Whoever finds the door taken has begun nothing yet: no run, no table.
    doors = take(settings.host, settings.port)
    set_up_logging(**settings.logging())
    application = Application(settings, interactive=True)
    application.registry.database.open()
    application.check_request(RunRequest())
    # Threads that look after things in the background must not hold up an answer: they hand over sooner.
    sys.setswitchinterval(_HAND_OVER_SECONDS)
    refuse_open_doors(application)
    at = doors[0].getsockname()[1]
    typer.echo(f"CLM on http://{_in_url(settings.host)}:{at} (Ctrl-C stops it)", err=True)
    config = uvicorn.Config(
        create_app(application, dashboard()), host=settings.host, port=at, log_level="warning",
        access_log=False, server_header=False, timeout_graceful_shutdown=_LAST_ANSWERS,
        # The app hears its proxies itself (`clm.api.proxies`).
        proxy_headers=False, http=Bounded,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # Ctrl-C has ended it in order before it comes here.
    with suppress(KeyboardInterrupt):
        server.run(sockets=doors)
    if not server.started:
        raise typer.Exit(3)


def dashboard() -> Callable[[FastAPI], None] | None:
    """What puts the dashboard at `/`; None, and a line that says so, where its library is not installed."""
    try:
        from clm.dashboard.mount import mount
    except ModuleNotFoundError as error:
        typer.echo(f"no dashboard: {error.name} is not installed; / leads to /docs", err=True)
        return None
    return mount


def refuse_open_doors(application: Application) -> None:
    """Raises InvalidSetting where others could reach a service that has no key."""
    from clm.api.hosts import is_loopback
    from clm.core.errors import InvalidSetting

    host = application.settings.host
    if not is_loopback(host) and not application.keys.ring().keys:
        raise InvalidSetting(
            "CLM_HOST", host,
            "127.0.0.1, localhost or ::1 as long as there is no key; make one with `clm keys add NAME --role "
            "admin`, or set CLM_API_KEY",
        )  # fmt: skip


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def exchange(
    replay: Annotated[
        Path | None, typer.Option(help="Replay stored candles: a Parquet or dump file, or a folder.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate a market.")] = False,
    symbols: Annotated[str, typer.Option(help="Simulated symbols, comma-separated.")] = "BTCUSDT,ETHUSDT",
    interval: Annotated[str, typer.Option(help="Simulated base candle.")] = "1h",
    days: Annotated[float, typer.Option(help="Simulated history before --start-time, days.")] = 500,
    signal: Annotated[float, typer.Option(help="Attainable R² of the simulated signal, 0.02 = 2 %.")] = 0.02,
    regime_change: Annotated[
        list[datetime] | None,
        typer.Option(formats=TIMES, help="When the signal turns its sign, UTC; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market and the fault plan.")] = 0,
    start_time: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="The exchange's clock begins here, UTC; default: now."),
    ] = None,
    speed: Annotated[float, typer.Option(help="Exchange seconds per second; 0: stands still.")] = 1.0,
    latency: Annotated[float, typer.Option(help="Seconds added to every answer.")] = 0.0,
    weight_limit: Annotated[int, typer.Option(help="Request weight allowed per minute.")] = 6000,
    faults: Annotated[str, typer.Option(help="Fault plan, such as 429@3,500:0.05 (docs/exchange.md).")] = "",
    host: Annotated[str, typer.Option(help="Address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.")] = 8765,
) -> None:
    """Run a local exchange that speaks Binance's public REST: replayed or simulated candles, own clock."""
    from datetime import UTC, timedelta

    from clm.core.errors import BadInput
    from clm.exchange.clock import ExchangeClock
    from clm.exchange.faults import FaultPlan
    from clm.exchange.replay import read_market
    from clm.exchange.server import ExchangeServer
    from clm.exchange.simulate import simulate_market

    for option, value, low, high in (
        ("--days", days, 1, 3660), ("--speed", speed, 0, 1e6), ("--latency", latency, 0, 3600),
        ("--seed", seed, 0, 2**63), ("--weight-limit", weight_limit, 0, 10**9), ("--port", port, 0, 65535),
    ):  # fmt: skip
        require_within(option, value, low, high)
    begin = in_utc(start_time) if start_time is not None else datetime.now(UTC)
    if not 1990 <= begin.year <= 2200:
        raise BadInput("--start-time", f"{begin:%Y-%m-%d}", "a time from 1990 to 2200")
    if (replay is None) == (not simulate):
        raise BadInput("--replay, --simulate", "both" if simulate else "neither", "exactly one of the two")
    if replay is not None:
        market = read_market(replay, seed)
    else:
        market = simulate_market(
            tuple(name.strip() for name in symbols.split(",") if name.strip()), interval,
            start=begin - timedelta(days=days), end=begin + timedelta(days=days), seed=seed, signal=signal,
            regime_changes=tuple(in_utc(moment) for moment in regime_change or ()),
        )  # fmt: skip
    server = ExchangeServer(
        market, ExchangeClock(begin, speed), faults=FaultPlan.parse(faults, seed=seed), latency=latency,
        weight_limit=weight_limit, host=host, port=port,
    )  # fmt: skip
    kind = f"replaying {replay}" if replay is not None else f"simulating with seed {seed}"
    typer.echo(
        f"exchange at {server.url}: {kind}, {', '.join(market.symbols())}; its clock begins at "
        f"{begin:%Y-%m-%d %H:%M} UTC and runs {speed:g} s a second (Ctrl-C stops it)",
        err=True,
    )
    typer.echo(f"use it with CLM_BINANCE_URL={server.url}", err=True)
    server.serve_forever()


def in_utc(moment: datetime) -> datetime:
    """A time given without a zone is UTC."""
    from datetime import UTC

    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
