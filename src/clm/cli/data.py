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
    raise NotImplementedError
