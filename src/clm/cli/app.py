"""All commands in one table."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from clm.cli import cycle, data, demo, models, service

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
app.command("models")(models.models)
app.command("history")(models.history)
app.command("promote")(models.promote)
app.command("rollback")(models.rollback)
app.command("verify")(models.verify)
app.command("import")(data.import_dumps)
app.command("exchange")(service.exchange)

database = typer.Typer(name="db", no_args_is_help=True, help="The registry's database.")
database.command("upgrade")(models.db_upgrade)
app.add_typer(database)
