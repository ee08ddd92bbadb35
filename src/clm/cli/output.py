"""How results reach the terminal: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clm.bootstrap import Application
    from clm.core.domain import Progress
    from clm.core.errors import ClmError

#: Where there is no terminal, a step that takes long says how far it is at most so often, seconds.
_A_LINE_EVERY = 10.0
_WIDTH_OF_A_PIPE = 140

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Symbol = Annotated[str | None, typer.Option(help="Configured symbol; default: the first.")]
Interval = Annotated[str | None, typer.Option(help="Candle length; default: the configured one.")]


def open_application(*, begins: bool = False) -> Application:
    """The application of the environment's settings, logging set up. Use it as a context manager.

    begins: the command may be the first one ever. Others need a database that is there and create nothing,
    neither it nor folders: in a wrong place they say so. Raises DatabaseMissing.
    """
    from pathlib import Path

    from clm.bootstrap import Application
    from clm.core import plugins
    from clm.core.errors import DatabaseMissing
    from clm.settings import Settings
    from clm.telemetry import set_up_logging

    settings = Settings.load()
    log = settings.logging()
    if not begins:
        try:
            require_database(settings.db_url)
        except DatabaseMissing:
            # What is wrong with the settings comes first: with them nothing could be begun either.
            plugins.require_model_types(settings.models)
            raise
        if log["file"] and not Path(log["file"]).parent.is_dir():
            log["file"] = ""
    set_up_logging(**log, beside_bars=True)
    return Application(settings, interactive=True)


def require_database(db_url: str) -> None:
    """Returns where there is one of CLM; creates nothing. Raises DatabaseMissing."""
    from clm.core.errors import DatabaseMissing
    from clm.core.text import mask_url
    from clm.registry.engine import file_of
    from clm.registry.migrate import revision_of

    file = file_of(db_url)
    # Even looking into an empty file would begin a database in it.
    if not (file is not None and file.is_file() and file.stat().st_size == 0) and revision_of(db_url):
        return
    where = mask_url(db_url) if file is None else file.absolute()
    kind = "no tables of CLM" if file is None or file.exists() else "no database"
    raise DatabaseMissing(
        f"{kind} at {where}: is this the right folder, and CLM_DB_URL the right address? "
        "`clm serve`, `clm retrain` or `clm db upgrade` begin one"
    )


def print_json(value: Any) -> None:
    """`value` as indented JSON."""
    from clm.core.wire import jsonable

    typer.echo(json.dumps(jsonable(value), indent=2))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or the sentence `empty` that says what to do."""
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    lines = list(rows)
    if not lines:
        typer.echo(empty)
        return
    # What names a line is shown whole; the longer cells after it wrap.
    heads = [Column(name, no_wrap=position < 2) for position, name in enumerate(columns)]
    table = Table(*heads, title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for line in lines:
        table.add_row(*(shown(cell) for cell in line))
    # A pipe or a file has no width of its own to fit into.
    # Plain text: what stands in brackets is no instruction, '.[deep]' is a name.
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE, markup=False, emoji=False).print(table)


@contextmanager
def progress_bar(
    first: str = "opening the database", clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Progress], None]]:
    """On standard error: call it with what has been done, as often as you like.

    In a terminal a bar over all steps and one for a step that takes long, gone when left; elsewhere a line
    for each step that begins, and one now and then while it takes long.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        yield _lines(clock)
        return
    columns = (
        progress.TextColumn("{task.description}", markup=False), progress.BarColumn(),
        progress.MofNCompleteColumn(), progress.TimeElapsedColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task, within = bar.add_task(first, total=None), bar.add_task("", total=None, visible=False)

        def tell(step: Progress) -> None:
            bar.update(task, total=step.total, completed=step.done, description=step.message)
            if step.part is None:
                bar.update(within, visible=False)
            else:
                part, unit = step.part, f"  {step.part.unit}"
                bar.update(within, total=part.total, completed=part.done, description=unit, visible=True)

        yield tell


def _lines(clock: Callable[[], float]) -> Callable[[Progress], None]:
    """Of what is called again and again with the same step, a line at its beginning and a few later."""
    said, when = "", 0.0

    def tell(step: Progress) -> None:
        nonlocal said, when
        now = clock()
        if step.message == said and now - when < _A_LINE_EVERY:
            return
        said, when = step.message, now
        part = f": {step.part.done:,} of {step.part.total:,} {step.part.unit}" if step.part else ""
        typer.echo(f"[{step.done}/{step.total}] {step.message}{part}", err=True)

    return tell


def shown(cell: object) -> str:
    """A cell in words: — for nothing, times to the minute and in UTC."""
    from datetime import datetime

    match cell:
        case None | "":
            return "—"
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M} UTC"
        case float():
            return f"{cell:.6g}"
        case _:
            return str(cell)


def require_within(option: str, value: float, low: float, high: float) -> None:
    """Raises BadInput for a number outside of what an option takes; `nan` is outside of everything."""
    from clm.core.errors import BadInput

    if not low <= value <= high:
        raise BadInput(option, value, f"a number from {low:,g} to {high:,g}")


def percent(value: float | None, digits: int = 2) -> str | None:
    """0.517 → 51.70 %."""
    return None if value is None else f"{value * 100:.{digits}f} %"


def metric(metrics: Mapping[str, float | None] | None, name: str) -> float | None:
    """One figure of a version's metrics, None where it has none."""
    return (metrics or {}).get(name)


def fail(error: ClmError, code: int) -> int:
    """Say what went wrong on standard error; answers the exit code."""
    typer.echo(f"error: {error}", err=True)
    rows: tuple[str, ...] = getattr(error, "rows", ())
    for row in rows[:20]:
        typer.echo(f"  {row}", err=True)
    if len(rows) > 20:
        typer.echo(f"  … and {len(rows) - 20} more", err=True)
    for note in getattr(error, "__notes__", ()):
        typer.echo(f"error: {note}", err=True)
    return code
