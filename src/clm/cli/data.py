"""Candles from files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
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
    """Read Binance's public dump files into the candle store, series side by side."""
    from clm.core.errors import ClmError
    from clm.market.dumps import Imported, import_each, skipped
    from clm.market.stores import candle_store
    from clm.settings import Settings

    settings = Settings.load()
    store = candle_store(settings.data_dir)
    for file, why in skipped(path):
        typer.echo(f"skipped {file}: {why}", err=True)
    with _processes(path, settings.processes) as executor:
        done = import_each(path, store, mend=repair, executor=executor)
    imported = [part for part in done.values() if isinstance(part, Imported)]
    errors = {series: error for series, error in done.items() if isinstance(error, ClmError)}
    if as_json:
        print_json(
            [
                {
                    "series": part.series, "files": part.files, "first": part.first, "last": part.last,
                    "rows": part.report.rows, "gaps": [str(gap) for gap in part.report.gaps],
                    "without_trades": part.report.without_trades, "dropped": part.report.dropped,
                }
                for part in imported
            ]
        )  # fmt: skip
    for part in () if as_json else imported:
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
    if imported and not as_json:
        typer.echo(f"stored in {store}")
    for series in errors:
        typer.echo(f"nothing of {series} was imported", err=True)
    if errors:
        first, *others = errors.values()
        for error in others:
            typer.echo(f"error: {error}", err=True)
        raise first


#: Processes take a second or two to begin: so many bytes of files are read here meanwhile.
_MANY_BYTES = 16_000_000


@contextmanager
def _processes(path: Path, most: int) -> Iterator[Executor | None]:
    """Processes to read a folder of many files with; None where it is read before they have begun."""
    from clm.jobs.pool import cores

    processes = most or cores()
    if processes == 1 or _size(path) < _MANY_BYTES:
        yield None
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        yield executor


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except OSError:
        # Whoever reads it says what is wrong with it.
        return 0
