"""A/B experiments: start, list, show, stop."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clm.cli.output import Interval, Json, Symbol, open_application, print_json, print_table
from clm.cli.service import TIMES, in_utc
from clm.cli.trail import on_record, who

if TYPE_CHECKING:
    from clm.bootstrap import Application
    from clm.core.experiments import Experiment

Id = Annotated[str, typer.Argument(metavar="ID", help="As `clm experiment list` shows it.")]

experiments = typer.Typer(
    name="experiment", no_args_is_help=True,
    help="A/B experiments: callers divided between two versions, evidence weighed both ways.",
)  # fmt: skip


@experiments.command("start")
def start(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="xgboost, lightgbm, …")],
    a: Annotated[str, typer.Argument(metavar="A", help="A version, usually the champion.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The version to set against it.")],
    split: Annotated[float, typer.Option(help="Share of callers that get B.")] = 0.5,
    alpha: Annotated[float, typer.Option(help="Chance that equals are ever called unequal.")] = 0.05,
    days: Annotated[float | None, typer.Option(help="It ends after so many days at the latest.")] = None,
    end: Annotated[datetime | None, typer.Option(formats=TIMES, help="The same as a time, UTC.")] = None,
    begin: Annotated[
        datetime | None, typer.Option("--start", formats=TIMES, help="UTC; default: now.")
    ] = None,
    symbol: Symbol = None,
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """Set two versions against each other; needs the live shadow (`clm serve`)."""
    times = {"start": in_utc(begin) if begin else None, "end": in_utc(end) if end else None}
    asked: dict[str, Any] = {
        "model": model, "versions": [a, b], "split": split, "alpha": alpha, "days": days, "symbol": symbol,
        "interval": interval, **{name: str(time) for name, time in times.items() if time},
    }  # fmt: skip
    with open_application() as application:
        with on_record(application, "clm experiment start", **asked) as came_to:
            series = application.find_series(symbol, interval)
            made = application.experiments.start(
                series, model, (a, b), split=split, alpha=alpha, days=days, by=who(), **times
            )
            came_to(f"experiment_id={made.experiment_id}")
        _print(application, made, as_json)


@experiments.command("list")
def list_them(
    model: Annotated[str | None, typer.Option("--model", help="One model type; default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Experiments of all series, newest first."""
    with open_application() as application:
        found = application.experiments.store.recent(limit, model_type=model)
        views = [application.experiments.show(e, application.now()) for e in found]
    if as_json:
        return print_json(views)
    rows = [
        (
            v["experiment_id"], f"{v['symbol']} {v['interval']}", v["model_type"], *v["versions"],
            "running" if v["running"] else v["state"], v["candles"], f"{v['e_a_better']:.3g}",
            f"{v['e_b_better']:.3g}", f"{v['e_needed']:.3g}", v["now"],
        )
        for v in views
    ]  # fmt: skip
    columns = (
        "id", "series", "model", "A", "B", "state", "candles", "E: A better", "E: B better", "needed", "now",
    )  # fmt: skip
    empty = "There was no experiment yet: begin one with `clm experiment start MODEL A B --days 30`."
    return print_table("Experiments, newest first", columns, rows, empty)


@experiments.command("show")
def show(
    experiment_id: Id,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute it again from the stored rows; exit 1 if it differs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """How an experiment stands, or how it ended and why."""
    with open_application() as application:
        found = application.experiments.store.get(experiment_id)
        again = application.experiments.recheck(found) if recompute else None
        _print(application, found, as_json, again)
    if again is not None and not again.same:
        raise typer.Exit(1)


@experiments.command("stop")
def stop(experiment_id: Id, as_json: Json = False) -> None:
    """End an experiment by hand."""
    with open_application() as application:
        with on_record(application, "clm experiment stop", experiment_id=experiment_id) as came_to:
            ended = application.experiments.stop(experiment_id, who(), application.now())
            came_to(f"experiment_id={experiment_id}")
        _print(application, ended, as_json)


def _print(application: Application, found: Experiment, as_json: bool, again: Any = None) -> None:
    view = application.experiments.show(found, application.now())
    if again is not None:
        view["recomputed"] = {"same": again.same, "differences": again.differences, "bets": again.bets}
    if as_json:
        return print_json(view)
    a, b = view["versions"]
    typer.echo(f"{view['experiment_id']}: {view['symbol']} {view['interval']} {view['model_type']}")
    typer.echo(f"  {view['now']}")
    shown = {
        "A": f"{a}, {view['callers']['A']} callers", "B": f"{b}, {view['callers']['B']} callers",
        "split": view["split"], "alpha": view["alpha"], "start": view["start"], "end": view["end"],
        "state": "running" if view["running"] else view["state"], "ended at": view["ended_at"],
        **{name.replace("_", " "): view[name] for name in (
            "candles", "e_a_better", "e_b_better", "e_needed", "mean_gain", "mse_gain", "last_candle",
        )},
    }  # fmt: skip
    for name, value in shown.items():
        typer.echo(f"  {name:<12} {'—' if value is None else value}")
    if again is None:
        return None
    if again.same:
        said = f"same: {again.bets} candles settled again, it comes out the same to the last bit"
        return typer.echo(said)
    return typer.echo("NOT the same:\n" + "\n".join(f"  {line}" for line in again.differences))
