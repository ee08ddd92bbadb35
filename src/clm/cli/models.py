"""Champions, versions, and moving between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clm.cli.output import (
    Interval,
    Json,
    Symbol,
    metric,
    open_application,
    percent,
    print_json,
    print_table,
)
from clm.cli.trail import on_record

if TYPE_CHECKING:
    from clm.bootstrap import Application
    from clm.core.domain import ModelArtifact

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="xgboost, lightgbm, …")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="As `clm history` lists it.")]


def models(symbol: Symbol = None, interval: Interval = None, as_json: Json = False) -> None:
    """The champion of every model type."""
    with open_application() as application:
        series = application.find_series(symbol, interval)
        summary = application.manager(series).get_model_status_summary()
    if as_json:
        return print_json(summary)
    rows = [
        (
            name, view["active_version"], view["trained_at"], metric(view["metrics"], "rmse"),
            percent(metric(view["metrics"], "directional_accuracy")),
            percent(metric(view["metrics"], "r2"), 3), view["notes"],
        )
        for name, view in summary.items()
    ]  # fmt: skip
    columns = (
        "model",
        "active version",
        "trained at",
        "RMSE (log return)",
        "direction",
        "R² vs zero",
        "notes",
    )
    return print_table(f"Champions of {series}", columns, rows, "No model types are known.")


def history(
    model: ModelArgument,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many versions.")] = 10,
    symbol: Symbol = None,
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """Versions of a model type, newest first."""
    from clm.core import plugins
    from clm.core.wire import artifact_view

    plugins.require_known_model_type(model)
    with open_application() as application:
        series = application.find_series(symbol, interval)
        versions = application.registry.for_series(series).get_model_history(model, limit=limit)
    if as_json:
        return print_json({"model_type": model, "versions": [artifact_view(v) for v in versions]})
    rows = [
        (
            v.version, v.status, v.trained_at, v.promoted_at, v.training_samples, metric(v.metrics, "rmse"),
            percent(metric(v.metrics, "directional_accuracy")), percent(metric(v.metrics, "r2"), 3),
        )
        for v in versions
    ]  # fmt: skip
    columns = ("version", "status", "trained at", "promoted at", "rows", "RMSE", "direction", "R² vs zero")
    empty = f"No version of {model} for {series} yet: train one with `clm retrain --models {model}`."
    return print_table(f"{model} of {series}, newest first", columns, rows, empty)


def promote(
    model: ModelArgument,
    version: VersionArgument,
    symbol: Symbol = None,
    interval: Interval = None,
    uncertified: Annotated[
        bool, typer.Option("--uncertified", help="Even without a leakage certificate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand; its file is verified first."""
    asked = {"model": model, "version": version, "symbol": symbol, "interval": interval}
    with open_application() as application:
        with on_record(application, "clm promote", **asked, uncertified=uncertified) as came_to:
            series = application.find_series(symbol, interval)
            promoted = application.promote_by_hand(series, model, version, uncertified=uncertified)
            came_to(f"version={promoted.version}")
        _show(promoted, "is now the champion", as_json)


def rollback(
    model: ModelArgument, symbol: Symbol = None, interval: Interval = None, as_json: Json = False
) -> None:
    """Retire the champion and bring back the version it replaced."""
    asked = {"model": model, "symbol": symbol, "interval": interval}
    with open_application() as application:
        with on_record(application, "clm rollback", **asked) as came_to:
            series = application.find_series(symbol, interval)
            back = application.roll_back_by_hand(series, model, "by hand, on the command line")
            came_to(f"version={back.version}")
        _show(back, "is champion again", as_json)


def verify(
    fix: Annotated[
        bool, typer.Option("--fix", help="Set aside what is damaged, let the last good version answer.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every registered version: file present, intact, loadable; every row consistent."""
    from clm.registry.mend import UNCHANGED

    with open_application() as application:
        mended = _mend(application) if fix else []
        findings = application.verify()
    problems = [finding for finding in findings if finding.severity == "error"]
    if as_json:
        print_json({"ok": not problems, "mended": mended, "findings": findings})
    else:
        for sentence in mended:
            # What only this process cannot read stays as it is, and is told below.
            if not sentence.endswith(UNCHANGED):
                typer.echo(f"mended: {sentence}")
        rows = [(f.severity, f.series, f.model_type, f.version, f.problem) for f in findings]
        columns = ("", "series", "model", "version", "finding")
        print_table("Registry", columns, rows, "Every version is present, intact and loadable.")
    if problems:
        raise typer.Exit(1)


def _mend(application: Application) -> list[str]:
    with on_record(application, "clm verify --fix") as came_to:
        mended = application.mend()
        came_to(f"mended={len(mended)}")
    return mended


def _show(artifact: ModelArtifact, what: str, as_json: bool) -> None:
    from clm.core.wire import artifact_view

    if as_json:
        print_json(artifact_view(artifact))
    else:
        typer.echo(f"{artifact.model_type} {artifact.version} of {artifact.series} {what}")
