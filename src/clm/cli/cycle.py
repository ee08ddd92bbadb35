"""Retrain, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clm.cli.output import (
    Interval,
    Json,
    Symbol,
    open_application,
    percent,
    print_json,
    print_table,
    progress_bar,
)
from clm.cli.trail import on_record

if TYPE_CHECKING:
    from clm.bootstrap import Application
    from clm.core.domain import Progress
    from clm.core.runs import Run, RunRequest

_POLL_SECONDS = 0.2


def retrain(
    models: Annotated[str | None, typer.Option(help="Comma-separated; default: the configured ones.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; default: all watched.")] = None,
    intervals: Annotated[str | None, typer.Option(help="Comma-separated; default: all watched.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Whatever the triggers say.")] = False,
    params: Annotated[
        str | None, typer.Option(help="JSON per family, over CLM_TRAINING_PARAMS, for this run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Retrain what needs it, in a child process, and show the report."""
    from clm.core.runs import RunRequest

    request = RunRequest(
        models=names_in(models), symbols=names_in(symbols), intervals=names_in(intervals), force=force,
        requested_by="cli", params=_params(params) if params else None,
    )  # fmt: skip
    named = ("models", "symbols", "intervals", "force", "params")
    asked = {name: getattr(request, name) for name in named}
    with (
        open_application(begins=True) as application,
        on_record(application, "clm retrain", **asked) as came_to,
    ):
        application.check_request(request)
        messenger = application.messenger
        finished = carried_out(application, request, came_to)
        # There may be no service that would; what does not go out now is left to the next who sends.
        messenger.send_due(10)
    print_run(finished, as_json)
    if str(finished.state) != "completed":
        raise typer.Exit(1)


def status(as_json: Json = False) -> None:
    """The newest run: state, progress, report."""
    with open_application() as application:
        application.supervisor.tidy()
        run = application.runs.latest()
    if run is None:
        if as_json:
            print_json({"status": "idle", "run_id": None, "progress": None, "report": None})
        else:
            typer.echo("idle: no run yet; start one with `clm retrain`")
        return
    print_run(run, as_json)


def triggers(symbol: Symbol = None, interval: Interval = None, as_json: Json = False) -> None:
    """Why each model type should be retrained now."""
    with open_application() as application:
        series = application.find_series(symbol, interval)
        manager = application.manager(series)
        reasons, summary = manager.check_if_retrain_needed(), manager.get_model_status_summary()
    if as_json:
        return print_json(reasons)
    rows = [
        (name, reason or "no need", summary[name]["untrainable_here"]) for name, reason in reasons.items()
    ]
    columns = ("model", "why retrain", "cannot be trained here")
    return print_table(f"Triggers of {series}", columns, rows, "No model types are known.")


def carried_out(application: Application, request: RunRequest, came_to: Callable[[str], None]) -> Run:
    """The run asked for, once it is over; on record under what `on_record` gave."""
    run = application.supervisor.submit(request)
    came_to(f"run_id={run.run_id}")
    finished = follow(application, run.run_id)
    came_to(f"run_id={run.run_id} {finished.state}")
    return finished


def follow(application: Application, run_id: str) -> Run:
    """Show progress until the run is over; Ctrl-C cancels it."""
    from clm.jobs.supervisor import to_be_resumed

    said: Mapping[str, Any] | None = None
    with progress_bar("starting the worker") as tell:
        try:
            while True:
                run = application.runs.get(run_id)
                # A step may begin and end between two looks; what the run said is kept with it.
                for line in _after(said, run.progress.get("log", ())):
                    tell(_progress(line))
                    said = line
                if run.state.over and not to_be_resumed(run):
                    break
                if run.progress:
                    tell(_progress(run.progress))
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            return application.supervisor.cancel(run_id, "cancelled with Ctrl-C")
    application.supervisor.wait(run_id, 10)
    return run


def _after(said: Mapping[str, Any] | None, lines: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The lines after the one said last; all of them where it is no longer among the newest."""
    places = range(len(lines), 0, -1)
    return lines[next((place for place in places if lines[place - 1] == said), 0) :]


def _progress(stored: Mapping[str, Any]) -> Progress:
    """As a run's row holds it."""
    from clm.core.ambit import Part
    from clm.core.domain import Progress

    part = stored.get("part")
    return Progress(
        step=stored["step"], message=stored["message"], done=stored["done"], total=stored["total"],
        part=Part(**part) if part else None,
    )  # fmt: skip


def print_run(run: Run, as_json: bool) -> None:
    """How far it is or how it ended, and its report."""
    from clm.core.wire import run_view

    if as_json:
        return print_json(run_view(run))
    typer.echo(f"run {run.run_id}: {run.state}" + (f" — {run.error}" if run.error else ""))
    if not run.state.over and run.progress:
        typer.echo(f"  step {run.progress['done']} of {run.progress['total']}: {run.progress['message']}")
    if run.report is not None:
        print_report(run.report)
    return None


def print_report(report: dict[str, Any] | Any) -> None:
    """A report for people: figures per model, then each decision with its reason."""
    rows = [
        (
            f"{e['symbol']} {e['interval']}", e["model_type"], e["role"], e["n_samples"],
            f"{e['metrics']['rmse']:.6f}", percent(e["metrics"]["directional_accuracy"]),
            percent(e["metrics"]["r2"], 3), percent(e["metrics"]["r2_normalised"], 3),
        )
        for e in report["evaluations"]
    ]  # fmt: skip
    columns = ("series", "model", "role", "candles", "RMSE", "direction", "R² vs zero", "R² by volatility")
    print_table("On candles the judged model never saw", columns, rows, "Nothing was evaluated.")
    for decision in report["decisions"]:
        name = f"{decision['symbol']} {decision['model_type']} {decision['candidate_version']}"
        typer.echo(f"{decision['outcome']:<8} {name} ({decision['label']}): {decision['reason']}")
    for model_type, cause in report["failures"].items():
        typer.echo(f"FAILED   {model_type}: {cause}")
    for note in report["notes"]:
        typer.echo(f"note     {note}")
    typer.echo(f"took {report['duration_seconds']:.1f} s")


def names_in(text: str | None) -> tuple[str, ...] | None:
    """What a comma-separated list names."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def _params(text: str) -> dict[str, dict[str, Any]]:
    from clm.core.errors import BadInput
    from clm.core.text import read_json

    allowed = 'JSON per family, such as {"lightgbm": {"num_trees": 100}}'
    try:
        read = read_json(text)
    except ValueError as exc:
        raise BadInput("--params", text[:200], allowed) from exc
    if not isinstance(read, dict) or not all(isinstance(own, dict) for own in read.values()):
        raise BadInput("--params", text[:200], allowed)
    return read
