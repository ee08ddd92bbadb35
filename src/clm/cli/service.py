"""The service, and the exchange to rehearse on."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    host: Annotated[str | None, typer.Option(help="Address; default: CLM_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: CLM_PORT.")] = None,
) -> None:
    """Run the service: REST under /api/clm, Swagger at /docs, the scheduled retraining job."""
    import uvicorn

    from clm.api.app import create_app
    from clm.bootstrap import Application
    from clm.core.errors import InvalidSetting
    from clm.jobs.schedule import cron_trigger
    from clm.settings import Settings
    from clm.telemetry import set_up_logging

    given = {"host": host, "port": port}
    settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
    if settings.host not in _LOOPBACK:
        raise InvalidSetting(
            "CLM_HOST", settings.host,
            f"{', '.join(_LOOPBACK)}: the routes have no access control yet; put a proxy that has in front",
        )  # fmt: skip
    if settings.schedule != "off":
        cron_trigger(settings.schedule)
    set_up_logging(settings.log_level, settings.log_format)
    application = Application(settings)
    application.registry.open()
    typer.echo(f"CLM on http://{settings.host}:{settings.port}/docs (Ctrl-C stops it)", err=True)
    uvicorn.run(
        create_app(application), host=settings.host, port=settings.port, log_level="warning", access_log=False
    )


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
        list[datetime] | None, typer.Option(help="When the signal turns its sign, UTC; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market and the fault plan.")] = 0,
    start_time: Annotated[
        datetime | None, typer.Option(help="The exchange's clock begins here, UTC; default: now.")
    ] = None,
    speed: Annotated[float, typer.Option(help="Exchange seconds per second; 0: stands still.")] = 1.0,
    latency: Annotated[float, typer.Option(help="Seconds added to every answer.")] = 0.0,
    weight_limit: Annotated[int, typer.Option(help="Request weight allowed per minute.")] = 6000,
    faults: Annotated[str, typer.Option(help="Fault plan, such as 429@3,500:0.05 (see docs).")] = "",
    host: Annotated[str, typer.Option(help="Address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.")] = 8765,
) -> None:
    """Run a local exchange that speaks Binance's public REST: replayed or simulated candles, own clock."""
    raise NotImplementedError
