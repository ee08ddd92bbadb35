"""Keys to the service: made here, shown once, kept as hashes."""

from __future__ import annotations

from typing import Annotated

import typer

from clm.cli.output import Json, open_application, print_json, print_table
from clm.cli.trail import on_record
from clm.core.access import Role

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who or what uses it; the audit trail says so.")]


def add(
    name: Name,
    role: Annotated[
        Role,
        typer.Option(help="read: looks. operate: runs, roll-backs, cache. admin: promotions, audit trail."),
    ] = Role.READ,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: it is kept nowhere."""
    with (
        open_application(begins=True) as application,
        on_record(application, "clm keys add", name=name, role=role),
    ):
        key, secret = application.keys.add(name, role)
    if as_json:
        return print_json({"name": key.name, "role": key.role, "key": secret})
    typer.echo(f"the key of {key.name}, role {key.role}; it is not shown again:", err=True)
    return typer.echo(secret)


def list_them(as_json: Json = False) -> None:
    """Keys with their roles, revoked ones too, and those of CLM_API_KEY."""
    with open_application() as application:
        stored, configured = application.keys.stored(), application.settings.api_key
    rows: list[tuple[object, ...]] = [(key.name, key.role, None, None) for key in configured]
    rows += [(entry.key.name, entry.key.role, entry.created_at, entry.revoked_at) for entry in stored]
    names = ("name", "role", "created_at", "revoked_at")
    if as_json:
        return print_json([dict(zip(names, row, strict=True)) for row in rows])
    empty = "There is no key: whoever is on this machine may do everything, and nobody else anything."
    return print_table("Keys", ("name", "role", "created at", "revoked at"), rows, empty)


def revoke(name: Name, as_json: Json = False) -> None:
    """A key opens nothing from here on; sessions begun with it are over."""
    with open_application() as application, on_record(application, "clm keys revoke", name=name):
        key = application.keys.revoke(name)
        left = len(application.keys.ring().keys)
    if as_json:
        return print_json({"name": key.name, "role": key.role, "keys_left": left})
    typer.echo(f"the key of {key.name} is revoked")
    if not left:
        typer.echo("there is no other: nobody gets in until `clm keys add` has made one", err=True)
    return None
