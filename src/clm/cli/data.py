"""Candles from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clm.cli.output import Json, print_json


def import_dumps(
    path: Annotated[Path, typer.Argument(help="A dump file (zip, csv, Parquet) or a folder of them.")],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Drop rows that break the rules and name them, instead of refusing."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read Binance's public dump files into the candle store."""
    from clm.market.dumps import import_candles
    from clm.market.stores import candle_store
    from clm.settings import Settings

    store = candle_store(Settings.load().data_dir)
    imported = import_candles(path, store, mend=repair)
    if as_json:
        return print_json(
            [
                {
                    "series": part.series, "files": part.files, "first": part.first, "last": part.last,
                    "rows": part.report.rows, "gaps": [str(gap) for gap in part.report.gaps],
                    "without_trades": part.report.without_trades, "dropped": part.report.dropped,
                }
                for part in imported
            ]
        )  # fmt: skip
    for part in imported:
        report = part.report
        typer.echo(
            f"{part.series}: {report.rows:,} candles from {part.files} files, {part.first:%Y-%m-%d %H:%M} to "
            f"{part.last:%Y-%m-%d %H:%M} UTC; {len(report.gaps)} gaps with {report.missing} missing candles, "
            f"{report.without_trades} without trades, {len(report.dropped)} rows left out"
        )
        for gap in report.gaps:
            typer.echo(f"  gap       {gap}")
        for line in report.dropped:
            typer.echo(f"  left out  {line}")
    return typer.echo(f"stored in {store}")
