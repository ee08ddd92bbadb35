"""What a human should have heard of, who has heard of it, and whether the way there works."""

from __future__ import annotations

import typer

from clm.cli.output import Json, open_application, print_json, print_table
from clm.cli.trail import Limit

alerts = typer.Typer(
    name="alerts", invoke_without_command=True,
    help="Incidents, and who has been told of them (CLM_ALERT_URLS); alone: the list.",
)  # fmt: skip


@alerts.callback()
def _list_if_alone(context: typer.Context, limit: Limit = 20, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_them(limit, as_json)


@alerts.command("list")
def list_them(limit: Limit = 20, as_json: Json = False) -> None:
    """What a human should have heard of, newest incident first, and whether it was delivered."""
    from clm.core.wire import alert_view

    with open_application() as application:
        found, anybody = application.alerts.recent(limit), bool(application.receivers)
    if as_json:
        return print_json([alert_view(stored, anybody) for stored in found])
    rows = [
        (
            str(s.alert.series or ""), s.alert.model_type, s.alert.kind, s.alert.subject, s.first_at,
            s.last_at, s.times, s.delivery_to(anybody), s.alert.message,
        )
        for s in found
    ]  # fmt: skip
    columns = ("series", "model", "kind", "about", "first", "last", "times", "delivery", "message")
    return print_table("Alerts, newest incident first", columns, rows, "There was nothing to hear of.")


@alerts.command("test")
def send_test(as_json: Json = False) -> None:
    """Send a test message to every receiver of CLM_ALERT_URLS; exit code 1 if one did not take it."""
    import platform

    from clm.core.alert import Message
    from clm.core.errors import InvalidSetting

    # Nothing is read from the database, nor written to it.
    with open_application(begins=True) as application:
        receivers = application.receivers
        if not receivers:
            raise InvalidSetting("CLM_ALERT_URLS", "", "at least one address, such as slack://…")
        body = f"If you can read this, alerts of CLM on {platform.node()} arrive. Nothing is to be done."
        message = Message("CLM: a test message", body)
        results = {receiver.name: receiver.tell(message) for receiver in receivers}
    if as_json:
        print_json([{"receiver": n, "delivered": why is None, "reason": why} for n, why in results.items()])
    else:
        for name, why in results.items():
            typer.echo(f"{name}: {'delivered' if why is None else 'NOT delivered: ' + why}")
    if any(results.values()):
        raise typer.Exit(1)
