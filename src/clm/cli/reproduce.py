"""Make a registered version once more, and compare."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clm.cli.models import VersionArgument
from clm.cli.output import Json, open_application, print_json
from clm.cli.trail import on_record

if TYPE_CHECKING:
    from clm.core.domain import ModelArtifact
    from clm.registry.sql import SQLModelRegistry

_WORST_FIRST = ("different", "within tolerance", "identical")


def reproduce(
    version: VersionArgument,
    model: Annotated[str | None, typer.Option(help="Default: every model type with such a version.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Default: every symbol with such a version.")] = None,
    interval: Annotated[str | None, typer.Option(help="Default: every candle length.")] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Put an identical rebuild in the place of a missing file.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rebuild a version in a clean process from what is stored about it: identical, or what differs first."""
    from clm.core import plugins
    from clm.rebuild import in_a_process_of_its_own

    if model is not None:
        plugins.require_known_model_type(model)
    with open_application() as application:
        found = _named(application.registry, version, model, symbol, interval)
        asked = {"version": version, "model": model, "symbol": symbol, "interval": interval}
        trail = on_record(application, "clm reproduce --restore", **asked) if restore else nullcontext()
        with trail as came_to:
            told = [in_a_process_of_its_own(application.settings, a, restore=restore) for a in found]
            if came_to is not None:
                came_to(f"restored={sum(one['restored'] for one in told)}")
    verdict = min((one["verdict"] for one in told), key=_WORST_FIRST.index)
    if as_json:
        print_json({"version": version, "verdict": verdict, "results": told})
    else:
        for one in told:
            _show(one, restore)
    if verdict == "different" or (restore and not all(one["restored"] for one in told)):
        raise typer.Exit(1)


def _named(
    registry: SQLModelRegistry, version: str, model: str | None, symbol: str | None, interval: str | None
) -> list[ModelArtifact]:
    """All versions of that name, of all series and model types that were not left out."""
    from clm.core.errors import VersionNotFound

    found = []
    for series, model_type in registry.kept():
        pairs = ((model, model_type), (symbol, series.symbol), (interval, series.interval))
        if all(asked is None or asked == there for asked, there in pairs):
            try:
                found.append(registry.for_series(series).get_version(model_type, version))
            except VersionNotFound:
                continue
    if not found:
        of = " ".join(part for part in (model, symbol, interval) if part)
        raise VersionNotFound(f"no version {version!r}{' of ' if of else ''}{of} is registered")
    return found


def _show(told: dict[str, Any], restore: bool) -> None:
    first = f", {told['first_difference']} first" if told["verdict"] == "different" else ""
    typer.echo(
        f"{told['verdict'].upper()}{first}: {told['model_type']} {told['version']} of {told['symbol']} "
        f"{told['interval']}, from {told['rows']:,} rows of {told['candles_from']}'s candles, "
        f"{told['seconds']:.1f} s"
    )
    rebuilt = told["rebuilt_sha256"]
    same = "=" if rebuilt == told["artifact_sha256"] else "≠"
    typer.echo(
        f"  sha256 {told['artifact_sha256'][:16]}… {same} {rebuilt[:16] + '…' if rebuilt else 'nothing'}"
    )
    for difference in told["differences"]:
        typer.echo(f"  {difference['what']}: {difference['said']}")
    for note in told["notes"]:
        typer.echo(f"  note: {note}")
    if told["verdict"] == "within tolerance":
        typer.echo("  note: other bytes, but the same forecasts to a millionth")
    if restore:
        back = "its file is in its place" if told["restored"] else "NOT put back: only identical bytes are"
        typer.echo(f"  {back}")
