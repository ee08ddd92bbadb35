"""`clm demo`: the seven steps of a model's life on a simulated exchange, in under a minute."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clm.cli.cycle import follow, print_report
from clm.cli.output import percent, print_table

if TYPE_CHECKING:
    from clm.bootstrap import Application
    from clm.exchange.clock import ExchangeClock

#: Fixed, so that the demo tells the same story every time.
_START = datetime(2024, 3, 1, tzinfo=UTC)
_REGIME_CHANGE = _START + timedelta(days=20)
_HISTORY, _FUTURE = timedelta(days=120), timedelta(days=150)
_AFTER_FIRST_RUN = timedelta(days=11)
_AFTER_REGIME_CHANGE = timedelta(days=60)
_WATCHED = timedelta(days=10)

_INTRO = """\
CLM demo: a model's life in seven steps.

  real       HTTP, python-binance, candle store, features, XGBoost and LightGBM, evaluation, leakage
             certificate, evidence ledger, live shadow, guard, SQL registry, the child process of every run
  simulated  the market (seeded, with a learnable signal that turns its sign once) and the exchange's clock,
             which is set forward by days; the shadow then makes up for every candle as of its own close
"""


def demo(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before training.")] = False,
    models: Annotated[
        str,
        typer.Option(
            metavar="A,B|all",
            help="Model types; `all`: N-HiTS and PatchTST too, in minutes, with the extra `deep`.",
        ),
    ] = "xgboost,lightgbm",
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep database, models and candles here; default: thrown away."),
    ] = None,
) -> None:
    """Walk through the whole cycle on a simulated exchange; touches nothing of yours."""
    from clm.core import plugins
    from clm.core.domain import ModelType

    every = tuple(ModelType) if models == "all" else tuple(name.strip() for name in models.split(","))
    chosen = plugins.require_model_types(tuple(str(name) for name in every))
    typer.echo(_INTRO)
    if not yes:
        typer.confirm("It trains models for about half a minute. Go on?", abort=True)
    began = time.monotonic()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _walk(folder.resolve(), chosen)
    else:
        with tempfile.TemporaryDirectory(prefix="clm-demo-") as temporary:
            _walk(Path(temporary), chosen)
    typer.echo(f"\nThe demo took {time.monotonic() - began:.0f} s. Next: `clm serve`, then open /docs.")


def _walk(folder: Path, models: tuple[str, ...]) -> None:
    from clm.bootstrap import Application
    from clm.exchange.clock import ExchangeClock
    from clm.exchange.server import ExchangeServer
    from clm.exchange.simulate import simulate_market
    from clm.settings import Settings
    from clm.telemetry import set_up_logging

    market = simulate_market(
        ("BTCUSDT",), "15m", start=_START - _HISTORY, end=_START + _FUTURE, seed=7,
        signal=0.05, regime_changes=(_REGIME_CHANGE,),
    )  # fmt: skip
    clock = ExchangeClock(_START, speed=0)
    with ExchangeServer(market, clock) as exchange:
        settings = Settings.load(
            symbols=("BTCUSDT",), interval="15m", models=models, training_lookback_days=90,
            holdout_days=10, purge_hours=6, shadow_test_hours=24, promotion_policy="evidence",
            min_improvement_threshold=0.02, live_shadow=False, db_url=f"sqlite:///{folder / 'clm.db'}",
            model_dir=folder / "models", data_dir=folder / "data", binance_url=exchange.url,
            schedule="off", log_level="warning", log_file=str(folder / "clm.log"),
            retrain_interval_days=7, training_preset="regularised", features="advanced",
        )  # fmt: skip
        set_up_logging(**settings.logging())
        with Application(settings, interactive=True) as application:
            _steps(application, clock)


def _steps(application: Application, clock: ExchangeClock) -> None:
    _title(1, f"The exchange is up; its clock stands at {clock.now():%Y-%m-%d %H:%M} UTC")
    typer.echo(f"BTCUSDT 15m candles at {application.settings.binance_url}, {_HISTORY.days} days of history")
    _show_triggers(application)

    _title(2, "First cycle: candles → features → training → evaluation → certificate → shadow → promotion")
    _run(application)
    _show_champions(application)

    clock.advance(_AFTER_FIRST_RUN)
    _watch(application)
    _title(3, f"{_AFTER_FIRST_RUN.days} days later a trigger fires; are the new models better?")
    _show_triggers(application)
    _run(application)

    clock.set(_REGIME_CHANGE + _AFTER_REGIME_CHANGE)
    _title(
        4, f"The signal turned its sign on {_REGIME_CHANGE:%Y-%m-%d}; {_AFTER_REGIME_CHANGE.days} days later"
    )
    _watch(application)
    _show_triggers(application)
    _run(application)

    _title(5, "The live shadow goes on: a forecast and a bet per candle, a decision when it is due")
    clock.advance(_WATCHED)
    _watch(application)
    _show_champions(application)

    _title(6, "Somebody promotes a worse version by hand; the guard lets the replaced champion forecast on")
    _plant(application)
    clock.advance(_WATCHED)
    _watch(application)

    _title(7, "Who answers now, is the registry sound, and can the decisions be trusted?")
    _show_champions(application)
    _check(application)


def _watch(application: Application) -> None:
    """The live shadow over everything since the last look."""
    tick = application.live_shadow(lambda alert: None, rehearsal=True).tick()
    typer.echo(
        f"live shadow until {tick.now:%Y-%m-%d %H:%M} UTC: {tick.forecasts:,} forecasts, "
        f"{tick.scored:,} scored"
    )
    for decision in tick.decisions:
        typer.echo(
            f"{decision.outcome:<8} {decision.model_type} {decision.candidate_version} ({decision.label}): "
            f"{decision.reason}"
        )


def _plant(application: Application) -> None:
    """The very first version, made before the signal turned: the guard is to take it back."""
    series, model_type = application.series[0], application.models[0]
    registry = application.registry.for_series(series)
    first = registry.get_model_history(model_type, limit=100)[-1]
    active = registry.get_active(model_type)
    if active is None or active.version == first.version:
        typer.echo(f"{model_type} {first.version} still reigns: nothing worse to promote")
        return
    application.promote_by_hand(series, model_type, first.version)
    typer.echo(f"clm promote {model_type} {first.version}: it answers now instead of {active.version}")


def _check(application: Application) -> None:
    from clm.core.recompute import recompute

    findings = application.registry.verify()
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.problem}")
    if not findings:
        typer.echo("Every registered version is present, intact and loadable.")
    registry = application.registry.for_series(application.series[0])
    decided = [d for d in registry.get_decisions(limit=500) if d.inputs]
    same = sum(recompute(registry, decision).same for decision in decided)
    typer.echo(f"{same} of {len(decided)} decisions recompute from the stored rows to the last bit.")


def _title(number: int, text: str) -> None:
    typer.echo(f"\n[{number}/7] {text}")


def _run(application: Application) -> None:
    from clm.core.runs import RunRequest

    run = application.supervisor.submit(RunRequest(requested_by="cli"))
    finished = follow(application, run.run_id)
    if finished.report is None or finished.error is not None:
        typer.echo(f"run {finished.run_id} {finished.state}: {finished.error}", err=True)
        raise typer.Exit(1)
    print_report(finished.report)


def _show_triggers(application: Application) -> None:
    for model_type in application.models:
        reason = application.manager().check_if_retrain_needed()[model_type]
        typer.echo(f"{model_type:<10} {reason or 'no need'}")


def _show_champions(application: Application) -> None:
    summary = application.manager().get_model_status_summary()
    rows = [
        (
            name, summary[name]["active_version"], summary[name]["trained_at"],
            percent((summary[name]["metrics"] or {}).get("directional_accuracy")),
            percent((summary[name]["metrics"] or {}).get("r2"), 2),
        )
        for name in application.models
    ]  # fmt: skip
    columns = ("model", "champion", "trained at", "direction on holdout", "R² vs zero on holdout")
    print_table("Champions", columns, rows, "No champion.")
