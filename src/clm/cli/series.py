"""The watchlist: which series are kept alive, changed while the service runs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from clm.cli.output import Json, open_application, print_json, print_table
from clm.cli.trail import on_record, who

series = typer.Typer(
    name="series", no_args_is_help=True,
    help="The series that are kept alive: those of CLM_SYMBOLS, and what is added or taken off here.",
)  # fmt: skip
Name = Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as SOLUSDT.")]
Length = Annotated[str | None, typer.Option("--interval", help="Candle length; default: the configured.")]


@series.command("list")
def list_them(
    every: Annotated[bool, typer.Option("--all", help="Also those taken off.")] = False, as_json: Json = False
) -> None:
    """What is watched, with the champions."""
    with open_application() as application:
        found = application.watched(every=every)
    if as_json:
        return print_json(found)
    rows = [
        (
            f"{s['symbol']} {s['interval']}",
            ", ".join(f"{m} {version or '—'}" for m, version in s["champions"].items()),
            s["origin"] if s["watched"] else "taken off", s["changed_by"], s["changed_at"],
            ", ".join(f"{name}={_text(value)}" for name, value in s["overrides"].items()) or None,
        )
        for s in found
    ]  # fmt: skip
    columns = ("series", "models and champions", "from", "changed by", "changed at", "of its own")
    return print_table("Series", columns, rows, "No series is watched.")


@series.command("add")
def add(
    symbol: Name,
    interval: Length = None,
    models: Annotated[str | None, typer.Option(help="Comma-separated; default: CLM_MODELS.")] = None,
    own: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of its own; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch a series from now on, or otherwise than before; a service that runs hears of it at once."""
    names = [name.strip() for name in models.split(",")] if models else None
    overrides = dict(_setting(text) for text in own or ())
    asked = {"symbol": symbol, "interval": interval, "models": names, "overrides": overrides or None}
    with open_application(begins=True) as application, on_record(application, "clm series add", **asked):
        new, view = application.watch(symbol, interval, names, overrides, by=who())
    if as_json:
        return print_json(view)
    said = "is watched from now on" if new else "is watched as said from now on"
    typer.echo(f"{view['symbol']} {view['interval']} {said}: {', '.join(view['models'])}")
    if view["note"]:
        typer.echo(f"note     {view['note']}")
    elif not any(view["champions"].values()):
        typer.echo(f"its first models: clm retrain --symbols {view['symbol']} --intervals {view['interval']}")
    return None


@series.command("remove")
def remove(symbol: Name, interval: Length = None, as_json: Json = False) -> None:
    """Watch a series no more; its models and everything on record stay."""
    with (
        open_application() as application,
        on_record(application, "clm series remove", symbol=symbol, interval=interval),
    ):
        view = application.unwatch(symbol, interval, by=who())
    if as_json:
        return print_json(view)
    return typer.echo(f"{view['symbol']} {view['interval']} is no longer watched; what is stored stays")


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON where it is some, else as text."""
    from clm.core.errors import BadInput

    name, found, value = text.partition("=")
    if not found or not name:
        raise BadInput("--set", text, "NAME=VALUE, such as retrain_interval_days=14")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
