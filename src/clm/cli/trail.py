"""The audit trail, which commands write to as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clm.cli.output import Json, open_application, print_json, print_table

if TYPE_CHECKING:
    from clm.bootstrap import Application

Limit = Annotated[int, typer.Option(min=1, max=500, help="At most so many.")]


def audit(limit: Limit = 20, as_json: Json = False) -> None:
    """Who changed something, or tried to, from where, and what came of it, newest first."""
    import json

    from clm.core.wire import audit_view

    with open_application() as application:
        rows = application.audit.recent(limit)
    if as_json:
        return print_json([audit_view(row) for row in rows])
    lines = [
        (
            row.number, row.at, row.deed.actor, row.deed.role, row.deed.origin, row.deed.action,
            row.result, json.dumps(row.deed.detail) if row.deed.detail else None,
        )
        for row in rows
    ]  # fmt: skip
    columns = ("id", "at", "who", "role", "from", "what", "result", "asked for")
    return print_table("Audit trail, newest first", columns, lines, "Nobody has changed anything yet.")


@contextmanager
def on_record(application: Application, action: str, **asked: Any) -> Iterator[Callable[[str], None]]:
    """A command that changes something: its row in the audit trail first, its result afterwards.

    Inside, what is given is called with what it came to. Without the row nothing is done: the error of the
    database goes up.
    """
    from clm.core.access import Role
    from clm.core.audit import Deed
    from clm.core.errors import ClmError

    detail = {name: value for name, value in asked.items() if value not in (None, False)}
    deed = Deed(actor=who(), role=Role.ADMIN, origin="cli", action=action, detail=detail)
    number, result = application.audit.begin(deed), "done"

    def came_to(what: str) -> None:
        nonlocal result
        result = f"done {what}"

    try:
        yield came_to
    except ClmError as error:
        result = f"failed: {error}"
        raise
    except BaseException as error:
        result = f"ended by {type(error).__name__}"
        raise
    finally:
        _close(application, number, result)


def _close(application: Application, number: int, result: str) -> None:
    from clm.core.errors import ClmError

    try:
        application.audit.end(number, result)
    except ClmError as error:
        # What was begun is on record; that it is done is true all the same.
        typer.echo(f"warning: the audit trail lacks the result {result!r}: {error}", err=True)


def who() -> str:
    """Under what name a command is on record."""
    return f"cli:{_user()}@{_machine()}"


def _user() -> str:
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user nobody has given a name.
        return str(os.getuid())


def _machine() -> str:
    import platform

    return platform.node()
