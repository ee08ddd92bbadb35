"""The registry's database: its schema, copies of it, backups of it and of the model files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clm.cli.output import Json, open_application, print_json, print_table, progress_bar, require_database

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clm.registry.copy import CopiedTable
    from clm.registry.manifest import Manifest

_CHECKSUM_SHOWN = 16

database = typer.Typer(name="db", no_args_is_help=True, help="The registry's database.")


@database.command("upgrade")
def upgrade() -> None:
    """Create the database's tables or bring them up to date."""
    from clm.core.text import mask_url
    from clm.registry.migrate import upgrade as upgraded
    from clm.settings import Settings

    settings = Settings.load()
    revision = upgraded(settings.db_url)
    typer.echo(f"{mask_url(settings.db_url)} is at revision {revision}")


@database.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="A revision, or base: no tables.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Go back to the tables of an older CLM; what they have no room for is deleted."""
    from clm.core.text import mask_url
    from clm.registry.migrate import downgrade as downgraded
    from clm.settings import Settings

    settings = Settings.load()
    where = mask_url(settings.db_url)
    if not yes:
        typer.echo(
            f"What newer revisions than {revision} keep in {where} will be deleted. Stop every CLM that "
            "works with it and take a backup first (`clm backup FOLDER`)."
        )
        typer.confirm("Go back?", abort=True)
    typer.echo(f"{where} is at revision {downgraded(settings.db_url, revision)}")


@database.command("status")
def status(as_json: Json = False) -> None:
    """The database's revision, and whether this CLM can work with it as it is (exit code 0)."""
    from clm.core.text import mask_url
    from clm.registry.migrate import HEAD, KNOWN, revision_of
    from clm.settings import Settings

    settings = Settings.load()
    where, found = mask_url(settings.db_url), revision_of(settings.db_url)
    if as_json:
        print_json({"database": where, "revision": found, "head": HEAD, "up_to_date": found == HEAD})
    elif found == HEAD:
        typer.echo(f"{where} is at revision {found}: up to date")
    elif found is None:
        typer.echo(f"{where} has no tables of CLM: `clm db upgrade` makes them, and so does the first start")
    elif found in KNOWN:
        typer.echo(f"{where} is at revision {found}, this CLM works with {HEAD}: run `clm db upgrade`")
    else:
        typer.echo(f"{where} is at revision {found}: a newer CLM than this one (which knows {HEAD}) wrote it")
    if found != HEAD:
        raise typer.Exit(1)


@database.command("copy")
def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An empty database.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="Default: the configured database.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy the database into another, empty one: SQLite to PostgreSQL, back, or either to its like.

    One transaction, compared before it is committed. The source may be in use: it is copied as it is at one
    moment. A password is better kept out of the command line: PostgreSQL reads PGPASSWORD and ~/.pgpass.
    """
    from clm.core.text import mask_url
    from clm.registry.copy import copy_database
    from clm.settings import Settings

    source = source or Settings.load().db_url
    with progress_bar() as tell:
        copied = copy_database(source, to, tell)
    if as_json:
        return print_json({"from": mask_url(source), "to": mask_url(to), "tables": copied})
    _print_tables("Copied", copied)
    return typer.echo(f"{_rows(copied)} from {mask_url(source)} to {mask_url(to)}, compared to the last bit")


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made by this; must not hold anything.")],
    as_json: Json = False,
) -> None:
    """Back up the database and the model files while services work.

    FOLDER gets clm.db (SQLite, whatever the source is), models/ and manifest.json with the hash of each file,
    all at once when everything is written. Settings and candles are not part of it.
    """
    from clm.registry.backup import back_up
    from clm.settings import Settings

    settings = Settings.load()
    require_database(settings.db_url)
    with progress_bar() as tell:
        manifest = back_up(settings.db_url, settings.model_dir, folder, tell)
    _print_manifest("Backed up", str(folder), manifest, as_json)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As `clm backup` made it.")],
    as_json: Json = False,
) -> None:
    """Bring a backup back into the configured database and model folder, both empty; then verify them."""
    from clm.core.text import mask_url
    from clm.registry.restore import restore as restored
    from clm.settings import Settings

    settings = Settings.load()
    with progress_bar() as tell:
        manifest = restored(settings.db_url, settings.model_dir, folder, tell)
    where = f"{mask_url(settings.db_url)} and {settings.model_dir}"
    with open_application() as application:
        problems = [finding for finding in application.registry.verify() if finding.severity == "error"]
    _print_manifest("Restored", where, manifest, as_json)
    for finding in problems:
        typer.echo(
            f"error: {finding.series} {finding.model_type} {finding.version}: {finding.problem}", err=True
        )
    if problems:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("verified: every version is present, intact and loadable")


def _print_manifest(done: str, where: str, manifest: Manifest, as_json: bool) -> None:
    if as_json:
        return print_json(manifest.model_dump(mode="json"))
    _print_tables(done, manifest.tables)
    size = sum(stored.bytes for stored in manifest.files.values()) / 1e6
    return typer.echo(
        f"{_rows(manifest.tables)} and {len(manifest.models):,} model files, {size:.1f} MB, as of "
        f"{manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC, revision {manifest.revision}: {done.lower()} to {where}"
    )


def _print_tables(title: str, tables: Iterable[CopiedTable]) -> None:
    rows = [(table.name, f"{table.rows:,}", table.sha256[:_CHECKSUM_SHOWN]) for table in tables]
    print_table(title, ("table", "rows", "checksum"), rows, "No tables.")


def _rows(tables: Iterable[CopiedTable]) -> str:
    counts = [table.rows for table in tables]
    return f"{sum(counts):,} rows in {len(counts)} tables"
