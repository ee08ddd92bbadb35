"""Why who answers: decisions, standings, attempts, and the watch that feeds them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clm.cli.output import Interval, Json, Symbol, open_application, print_json, print_table

ModelOption = Annotated[str | None, typer.Option("--model", help="One model type; default: all.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="At most so many.")]


def decisions(
    model: ModelOption = None,
    limit: Limit = 20,
    symbol: Symbol = None,
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """What was decided, by whom and why, newest first."""
    from clm.core import plugins
    from clm.core.standings import decision_view

    if model is not None:
        plugins.require_known_model_type(model)
    with open_application() as application:
        series = application.find_series(symbol, interval)
        found = application.registry.for_series(series).get_decisions(model, limit=limit)
    if as_json:
        return print_json([decision_view(decision) for decision in found])
    rows = [
        (
            d.decision_id, d.decided_at, d.model_type, d.candidate_version, d.outcome, d.label, d.decided_by,
            d.reason,
        )
        for d in found
    ]  # fmt: skip
    columns = ("id", "decided at", "model", "candidate", "outcome", "label", "by", "reason")
    empty = f"Nothing was decided for {series} yet: train a candidate with `clm retrain`."
    return print_table(f"Decisions of {series}, newest first", columns, rows, empty)


def shadow(symbol: Symbol = None, interval: Interval = None, as_json: Json = False) -> None:
    """Challengers and the guard: evidence E, what it needs, about how long that takes."""
    with open_application() as application:
        entries = application.standings(symbol, interval)
    if as_json:
        return print_json(entries)
    rows = [row for entry in entries for row in _standing_rows(entry)]
    columns = ("series", "model", "role", "version", "E", "needed", "candles", "hours to go", "what now")
    return print_table("Live shadow", columns, rows, "No model types are configured.")


def explain_decision(
    decision_id: Annotated[int, typer.Argument(metavar="ID", help="As `clm decisions` lists it.")],
    as_json: Json = False,
) -> None:
    """Decide once more from the stored rows, and say whether it comes to the same."""
    from clm.core.standings import decision_view

    with open_application() as application:
        series, decision, again = application.explain(decision_id)
    if as_json:
        print_json(
            {
                **decision_view(decision), "series": series, "inputs": decision.inputs, "same": again.same,
                "recomputed": again.again is not None, "differences": again.differences, "bets": again.bets,
            }
        )  # fmt: skip
    else:
        typer.echo(
            f"decision {decision_id}: {decision.outcome} {series} {decision.model_type} "
            f"{decision.candidate_version} ({decision.label}), {decision.decided_at:%Y-%m-%d %H:%M} UTC"
        )
        typer.echo(f"  {decision.reason}")
        for name, value in decision.numbers.items():
            typer.echo(f"  {name:<28} {'—' if value is None else value}")
        typer.echo(_verdict(again))
    if again.again is not None and not again.same:
        raise typer.Exit(1)


def trials(
    model: ModelOption = None,
    limit: Limit = 20,
    symbol: Symbol = None,
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """Every attempt at a better model, failed, rejected and superseded ones too, and what it cost."""
    from clm.core.standings import trial_views

    with open_application() as application:
        series = application.find_series(symbol, interval)
        found = trial_views(application.registry.for_series(series), model, limit)
    if as_json:
        return print_json(found)
    rows = [
        (
            t["began_at"], t["model_type"], t["version"], t["outcome"], t["status"], f"{t['seconds']:.1f}",
            t["trigger"], t["reason"],
        )
        for t in found
    ]  # fmt: skip
    columns = ("began at", "model", "version", "outcome", "now", "seconds", "trigger", "reason")
    empty = f"Nothing was tried for {series} yet: start with `clm retrain`."
    return print_table(f"Trials of {series}, newest first", columns, rows, empty)


def live(
    once: Annotated[bool, typer.Option("--once", help="One tick, then end; for a cron of your own.")] = False,
    as_json: Json = False,
) -> None:
    """Watch candle by candle: forecast, score, bet, decide. `clm serve` does this by itself."""
    import time

    from clm.core.watchlist import common_step
    from clm.jobs.schedule import Schedule
    from clm.live import tick_slot

    with open_application(begins=True) as application:
        watch = application.live_shadow()
        if once:
            return _show_tick(watch.tick(), as_json)
        schedule = Schedule(
            application.data_client(application.series[0]).server_time,
            lambda: common_step(application.series), (),
            on_close=lambda: tick_slot(application, watch),
        )  # fmt: skip
        typer.echo("watching; Ctrl-C stops it", err=True)
        with schedule:
            while True:
                time.sleep(3600)


def _show_tick(tick: Any, as_json: bool) -> None:
    if as_json:
        return print_json(tick)
    typer.echo(
        f"{tick.now:%Y-%m-%d %H:%M} UTC: {tick.forecasts} forecasts stored ({tick.late} late), {tick.scored} "
        f"scored, {tick.revised} candles revised, {tick.replayed} replayed, {len(tick.decisions)} decisions"
    )
    for decision in tick.decisions:
        typer.echo(
            f"{decision.outcome:<8} {decision.model_type} {decision.candidate_version} ({decision.label}): "
            f"{decision.reason}"
        )
    for series, error in tick.errors.items():
        typer.echo(f"FAILED   {series}: {error}", err=True)
    if tick.errors:
        raise typer.Exit(1)
    return None


def _standing_rows(entry: dict[str, Any]) -> list[tuple[object, ...]]:
    series, model = f"{entry['symbol']} {entry['interval']}", entry["model_type"]
    champion, guard = entry["champion"], entry["guard"]
    if champion is None:
        return [(series, model, "champion", None, None, None, None, None, "none yet: `clm retrain`")]
    age = f"{champion['age_days']:.0f} days old, champion since {champion['since'][:16]}Z"
    rows: list[tuple[object, ...]] = [
        (series, model, "champion", champion["version"], None, None, None, None, age)
    ]
    rows += [
        (
            series, model, "challenger", c["version"], f"{c['e']:.3g}", f"{c['e_needed']:.3g}", c["candles"],
            None if c["hours_to_go"] is None else f"{c['hours_to_go']:,.0f}", c["reason"],
        )
        for c in entry["challengers"]
    ]  # fmt: skip
    if guard is not None:
        rows.append(
            (series, model, "guarded", guard["version"], f"{guard['e']:.3g}", f"{guard['e_needed']:.3g}",
             guard["candles"], None, f"comes back if it proves better before {guard['until'][:16]}Z")
        )  # fmt: skip
    return rows


def _verdict(again: Any) -> str:
    if again.again is None:
        return f"nothing to recompute: {again.differences[0]}"
    if again.same:
        return f"same: {again.bets} bets settled again, the decision comes out the same to the last bit"
    return "NOT the same:\n" + "\n".join(f"  {line}" for line in again.differences)
