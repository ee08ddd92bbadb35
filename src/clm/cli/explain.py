"""What forecasts are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from clm.cli.models import ModelArgument
from clm.cli.output import Interval, Json, Symbol, open_application, percent, print_json, print_table

_LISTED = 10


def explain(
    model: ModelArgument,
    top: Annotated[
        int | None, typer.Option(min=1, help=f"Features listed; default: {_LISTED}, with --json all.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Another version than the champion.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Compare with it; default: the one it replaced.")
    ] = None,
    symbol: Symbol = None,
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """What the newest forecast is made of, what the champion listens to, and what changed."""
    from clm.core import plugins

    plugins.require_known_model_type(model)
    with open_application() as application:
        series = application.find_series(symbol, interval)
        listed = top if top is not None or as_json else _LISTED
        found = application.explainer.explain(series, model, version=version, against=against, top=listed)
    if as_json:
        return print_json(found)
    _show_forecast(found)
    _show_importance(found["importance"])
    return _show_drift(found["drift"], found["drift_note"])


def _show_forecast(found: Mapping[str, Any]) -> None:
    forecast = found["forecast"]
    rows: list[tuple[object, ...]] = [("base", None, None, _points(forecast["base"]))]
    rows += [
        (c["feature"], c["family"], f"{c['value']:.4g}", _points(c["contribution"]))
        for c in forecast["contributions"]
    ]
    if forecast["rest_features"]:
        rest = f"{forecast['rest_features']} other features"
        rows.append((rest, None, None, _points(forecast["rest"])))
    rows.append(("forecast", None, None, _points(forecast["log_return"])))
    typer.echo(f"{found['model_type']} {found['version']} of {found['symbol']} {found['interval']}")
    title = f"Forecast made at {forecast['made_at']:%Y-%m-%d %H:%M} UTC"
    print_table(title, ("feature", "family", "value", "basis points"), rows, "")


def _show_importance(importance: Mapping[str, Any]) -> None:
    rows = [
        (
            f["rank"], f["feature"], f["family"], f"{f['mean_abs_contribution'] * 1e4:.4f}",
            percent(f["share"], 1), percent(f["gain"], 1),
        )
        for f in importance["features"]
    ]  # fmt: skip
    title = f"Importance over {importance['rows']} candles since {importance['since']:%Y-%m-%d}"
    columns = ("rank", "feature", "family", "mean |part|, basis points", "share", "share of training gain")
    print_table(title, columns, rows, "")


def _show_drift(drift: Mapping[str, Any] | None, note: str | None) -> None:
    if drift is None:
        typer.echo(f"Nothing to compare with: {note}.")
        return
    rows = [
        (
            f["feature"], f["family"], _signed_percent(f["share_change"]), percent(f["share"], 1),
            _rank(f["rank"]), percent(f["share_before"], 1), _rank(f["rank_before"]),
        )
        for f in drift["features"]
    ]  # fmt: skip
    correlation = "—" if drift["rank_correlation"] is None else f"{drift['rank_correlation']:.2f}"
    title = (
        f"Against {drift['against']}: {percent(drift['moved'], 1)} of the importance moved, "
        f"rank correlation {correlation}"
    )
    columns = ("feature", "family", "change", "share", "rank", "share before", "rank before")
    print_table(title, columns, rows, "")


def _points(log_return: float) -> str:
    """A log return in basis points, with its sign."""
    return f"{log_return * 1e4:+.4f}"


def _signed_percent(share: float) -> str:
    return f"{share * 100:+.1f} %"


def _rank(rank: float | None) -> str | None:
    return None if rank is None else f"{rank:.0f}"
