"""All commands in one table."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from clm.cli import (
    alerts,
    cycle,
    data,
    database,
    demo,
    evidence,
    experiment,
    explain,
    keys,
    models,
    predict,
    replay,
    reproduce,
    search,
    series,
    service,
    trail,
)

app = typer.Typer(
    name="clm", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Continuous Learning Manager: keeps crypto price-forecast models alive, and promotes only what can "
    "be trusted. Settings come from CLM_… environment variables and .env.",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"clm {version('quantum-clm')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("serve")(service.serve)
app.command("retrain")(cycle.retrain)
app.command("status")(cycle.status)
app.command("triggers")(cycle.triggers)
app.command("search")(search.search)
app.command("models")(models.models)
app.command("history")(models.history)
app.command("predict")(predict.predict)
app.command("ensemble")(predict.ensemble)
app.command("promote")(models.promote)
app.command("rollback")(models.rollback)
app.command("decisions")(evidence.decisions)
app.command("shadow")(evidence.shadow)
app.command("explain-decision")(evidence.explain_decision)
app.command("trials")(evidence.trials)
app.command("explain")(explain.explain)
app.command("live")(evidence.live)
app.command("audit")(trail.audit)
app.command("verify")(models.verify)
app.command("reproduce")(reproduce.reproduce)
app.command("replay")(replay.replay)
app.command("import")(data.import_dumps)
app.command("exchange")(service.exchange)

keyring = typer.Typer(name="keys", no_args_is_help=True, help="Keys to the service.")
keyring.command("add")(keys.add)
keyring.command("list")(keys.list_them)
keyring.command("revoke")(keys.revoke)
app.add_typer(keyring)

app.add_typer(alerts.alerts)
app.add_typer(series.series)
app.add_typer(experiment.experiments)
app.command("backup")(database.backup)
app.command("restore")(database.restore)
app.add_typer(database.database)
