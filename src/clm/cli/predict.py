"""What the champions forecast, and how the mixture of them fares."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from clm.cli.output import Interval, Json, Symbol, open_application, percent, print_json, print_table


def predict(
    symbols: Annotated[
        str | None, typer.Option(metavar="A,B", help="Watched symbols; default: all of them.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Or `ensemble`, the default where there is one.")
    ] = None,
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """The forecast of the candle after the newest closed one, and whether it may be used."""
    with open_application() as application:
        names = symbols.split(",") if symbols else []
        every = [application.find_series(name.strip(), interval) for name in names]
        every = every or [s for s in application.series if interval in (None, s.interval)]
        answers = [application.forecasts.answer(series, model) for series in every]
    _print(answers, as_json)
    if answers and all(a["forecast"] is None and "stale_data" in a["reasons"] for a in answers):
        # The exchange did not answer: what follows a forecast must not go on as if there were one.
        raise typer.Exit(1)


def _print(answers: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"answers": answers})
        return
    rows = [
        (
            f"{a['symbol']} {a['interval']}", a["model"], a["version"], _time(a["candle_close_time"]),
            _points(a["forecast"]), _price(a["implied_price"]), _between(a),
            "yes" if a["usable"] else f"no: {', '.join(a['reasons'])}",
        )
        for a in answers
    ]  # fmt: skip
    columns = (
        "series", "model", "version", "made at", "basis points", "price", f"{_level(answers)} interval",
        "usable",
    )  # fmt: skip
    print_table("Forecasts of the next candle", columns, rows, "")
    for problem in dict.fromkeys(a["problem"] for a in answers if a["problem"]):
        typer.echo(problem)


def ensemble(symbol: Symbol = None, interval: Interval = None, as_json: Json = False) -> None:
    """The mixture of the champions: weights, skill beside its members', what it can at most regret."""
    with open_application() as application:
        found = application.ensemble_standing(application.find_series(symbol, interval))
    if as_json:
        return print_json(found)
    weights, skill = found["weights"], found["skill"]
    rows = [
        (f"mixture, {name}", None, None, skill[name]["candles"], percent(skill[name]["r2"], 3))
        for name in skill
    ]
    rows += [
        (
            member, version, percent(weights.get("online", {}).get(member), 1),
            *((own["candles"], percent(own["r2"], 3)) if own else (0, None)),
        )
        for member, version in found["members"].items()
        for own in [found["skill_of_members"].get(member)]
    ]  # fmt: skip
    title = f"{found['symbol']} {found['interval']}: {found['candles']:,} candles mixed"
    columns = ("forecaster", "version", "weight now", "candles scored", "R² vs zero")
    print_table(title, columns, rows, "")
    if not found["candles"]:
        return typer.echo("Nothing is settled yet: the live shadow scores forecasts as candles close.")
    return typer.echo(
        f"lost {found['regret']:+.3f} σ² to the best member so far; it can never be more than "
        f"{found['regret_bound']:.1f} σ², however long it runs"
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _points(log_return: float | None) -> str | None:
    return None if log_return is None else f"{log_return * 1e4:+.2f}"


def _price(price: float | None) -> str | None:
    return None if price is None else f"{price:,.8g}"


def _between(answer: Mapping[str, Any]) -> str | None:
    lower, upper = (_price(answer[name]) for name in ("price_lower", "price_upper"))
    return f"{lower} … {upper}" if lower and upper else None


def _level(answers: list[dict[str, Any]]) -> str:
    levels = [a["interval_level"] for a in answers if a["interval_level"]]
    return percent(levels[0], 0) or "" if levels else "90 %"
