"""`clm search`: recipes proposed on the training window, the best of them entered as a challenger."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clm.cli.cycle import carried_out, names_in, print_run
from clm.cli.output import (
    Json,
    open_application,
    percent,
    print_json,
    print_table,
    progress_bar,
    require_within,
)
from clm.cli.trail import on_record

if TYPE_CHECKING:
    from clm.bootstrap import Application
    from clm.core.domain import Series
    from clm.core.runs import Run
    from clm.search.findings import Findings

_SHOWN = 5


def search(
    models: Annotated[str | None, typer.Option(help="Comma-separated; default: the configured ones.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; default: all configured.")] = None,
    trials: Annotated[
        int, typer.Option(help="Recipes to try, besides the present one, per series and model.")
    ] = 30,
    minutes: Annotated[float, typer.Option(help="At most so long in all, shared out evenly.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the proposals; the same seed proposes the same.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Propose and print; enter nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Search for better hyper-parameters on the training window; enter the best as a challenger.

    Promotes nothing: what is entered has to earn its place by the evidence, like any other candidate.
    """
    from clm.core.wire import run_view

    require_within("--trials", trials, 1, 10_000)
    require_within("--minutes", minutes, 0.01, 10_080)
    require_within("--seed", seed, 0, 2**32 - 1)
    asked = {
        "models": names_in(models), "symbols": names_in(symbols), "trials": trials, "minutes": minutes,
        "seed": seed, "dry_run": dry_run,
    }  # fmt: skip
    with (
        open_application(begins=True) as application,
        on_record(application, "clm search", **asked) as came_to,
    ):
        pairs = application.to_be_searched(names_in(models), names_in(symbols), enter=not dry_run)
        with _interruptible() as stop:
            found = _searched(application, pairs, (trials, minutes * 60, seed), stop)
            if not as_json:
                for findings in found:
                    _print(findings)
            came_to(f"{sum(len(f.tried) for f in found)} recipes tried")
        runs: list[Run] = []
        try:
            if not (dry_run or stop()):
                _enter(application, found, runs, came_to)
        finally:
            # What was found is told also where a run that has begun meanwhile keeps it from being entered.
            if as_json:
                print_json({"searches": found, "runs": [run_view(run) for run in runs]})
            else:
                _conclude(application, found, runs)
    if stop() or any(str(run.state) != "completed" for run in runs):
        raise typer.Exit(1)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """What is given tells whether Ctrl-C was pressed; the second time ends the command on the spot."""
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _searched(
    application: Application,
    pairs: Sequence[tuple[Series, str]],
    asked: tuple[int, float, int],
    stop: Callable[[], bool],
) -> list[Findings]:
    """One search after the other, each with its share of what time is left."""
    from clm.search.search import Budget

    trials, seconds, seed = asked
    deadline = time.monotonic() + seconds
    found: list[Findings] = []
    with progress_bar() as progress:
        for position, (series, model_type) in enumerate(pairs):
            if stop():
                break
            left = max(0.01, deadline - time.monotonic()) / (len(pairs) - position)
            search = application.recipe_search(series)
            found.append(search.run(model_type, Budget(trials, left), seed, stop=stop, progress=progress))
    return found


def _enter(
    application: Application, found: Sequence[Findings], runs: list[Run], came_to: Callable[[str], None]
) -> None:
    """The ordinary cycle with what was proposed, a run for each series; `runs` gets each as it is over."""
    from clm.core.runs import RunRequest

    for series in dict.fromkeys(f.series for f in found):
        params = _proposed([f for f in found if f.series == series])
        if params:
            request = RunRequest(
                models=tuple(params), symbols=(series.symbol,), intervals=(series.interval,), force=True,
                requested_by="search",
                params=params,
            )  # fmt: skip
            runs.append(carried_out(application, request, came_to))


def _proposed(found: Sequence[Findings]) -> dict[str, Mapping[str, Any]]:
    return {f.model_type: f.verdict.proposed for f in found if f.verdict.proposed is not None}


def _print(findings: Findings) -> None:
    """The present recipe, then the best, and what that means."""
    from clm.search.findings import listed

    whole = [one for one in findings.tried if one.outcome == "searched"]
    rest = sorted((one for one in whole if one.number), key=lambda one: one.score or 0.0, reverse=True)
    rows = [
        (one.number or "present", percent(one.score, 3), f"{one.seconds:.1f}", listed(one.params))
        for one in [*(one for one in whole if not one.number), *rest[:_SHOWN]]
    ]
    title = (
        f"{findings.series} {findings.model_type}: R² by volatility on {findings.folds} folds of "
        f"{findings.fit.start:%Y-%m-%d} to {findings.fit.end:%Y-%m-%d}"
    )
    print_table(title, ("trial", "R²", "seconds", "recipe"), rows, f"{title}: nothing was scored.")
    outcomes = [one.outcome for one in findings.tried]
    told = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))
    typer.echo(f"{findings.ended}: {told}; all of them are in `clm trials`")
    typer.echo(findings.verdict.reason)
    typer.echo(f"note: {findings.note}")


def _conclude(application: Application, found: Sequence[Findings], runs: Sequence[Run]) -> None:
    """What became of what was entered; of what was not, how to enter it."""
    for run in runs:
        print_run(run, as_json=False)
    entered = {symbol for run in runs for symbol in run.request.symbols or ()}
    configured = application.settings.training_params
    for findings in found:
        for model_type, own in _proposed([findings]).items():
            where = f"{findings.series} {model_type}"
            if findings.series.symbol in entered:
                whole = {**configured, model_type: {**configured.get(model_type, {}), **own}}
                said = "should it ever be promoted, let retraining go on with it:"
                typer.echo(f"{where}: {said} CLM_TRAINING_PARAMS='{json.dumps(whole)}'")
            else:
                command = f"clm retrain --force --symbols {findings.series.symbol} --models {model_type}"
                text = json.dumps({model_type: own})
                typer.echo(f"{where}: not entered; that is done by {command} --params '{text}'")
