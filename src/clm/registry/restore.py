"""Brings a backup back, into an empty database and an empty model folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from clm.core.domain import Progress
from clm.core.errors import ArtifactCorrupt, BadData, NotEmpty, StorageFailed
from clm.core.regular import read_regular
from clm.registry.artifacts import ArtifactStore
from clm.registry.copy import Listener, copy_database, require_empty
from clm.registry.database import Database
from clm.registry.engine import opened, reading, sqlite_url
from clm.registry.folder import ModelFolder
from clm.registry.manifest import DATABASE, MODELS, Manifest, check, read_manifest
from clm.registry.migrate import require_head, revision_of, upgrade
from clm.registry.tables import versions


def restore(db_url: str, model_dir: Path | str, folder: Path, listen: Listener | None = None) -> Manifest:
    """The backup in `folder`, as it was; one taken by an older CLM is brought up to date on the way.

    Every file is checked before anything is written. Model files come first, the database last and as a
    whole: a restore that was cut off has left an empty database, and is simply begun again. Raises NotEmpty,
    NotFound (no backup), ArtifactMissing, ArtifactCorrupt, BadData, DatabaseTooNew, StorageFailed.
    """
    manifest = read_manifest(folder)
    store = ArtifactStore(model_dir)
    _require_empty_database(db_url)
    _require_no_other_models(store, manifest)
    for name, stored in manifest.files.items():
        check(folder, name, stored)
    with _private_copy(folder, manifest) as database:
        for done, name in enumerate(manifest.models, 1):
            _bring(store, folder, manifest, name)
            if listen is not None:
                total = len(manifest.models)
                listen(Progress(step="models", message="bringing models back", done=done, total=total))
        copy_database(sqlite_url(database), db_url, listen)
    with closing(Database(db_url)) as restored:
        ModelFolder(restored, store).adopt()
    return manifest


def _require_empty_database(db_url: str) -> None:
    if revision_of(db_url) is not None:
        with opened(db_url) as engine, reading(engine) as connection:
            require_head(connection)
            require_empty(connection)


def _require_no_other_models(store: ArtifactStore, manifest: Manifest) -> None:
    """What a restore that was cut off brought back may be there."""
    for name in sorted(store.files()):
        known = manifest.models.get(name)
        if known is None or not store.holds(name, known.sha256):
            raise NotEmpty(f"the model folder {store} is not empty: {name} is not of this backup")


@contextmanager
def _private_copy(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """The backup's database where it may be opened and upgraded: the backup itself is never touched."""
    try:
        with TemporaryDirectory(prefix="clm-restore-") as private:
            database = Path(private) / DATABASE
            shutil.copyfile(folder / DATABASE, database)
            check(Path(private), DATABASE, manifest.files[DATABASE])
            _require_nothing_that_acts(database, folder)
            upgrade(sqlite_url(database))
            _require_files_of_rows(database, folder, manifest)
            yield database
    except OSError as exc:
        raise StorageFailed(f"the backup {folder} cannot be restored: {exc.strerror or exc}") from exc


def _require_nothing_that_acts(database: Path, folder: Path) -> None:
    """Raises BadData for a view, which may go on for ever, and a trigger not ours, which may do anything."""
    with opened(sqlite_url(database)) as engine, reading(engine) as connection:
        found = connection.execute(sa.text("SELECT type, name, sql FROM sqlite_master")).all()
    own = _triggers()
    for kind, name, sql in found:
        said = " ".join(str(sql or "").split())
        acts = kind == "view" or said.upper().startswith("CREATE VIRTUAL") or " GENERATED " in said.upper()
        if acts or (kind == "trigger" and own.get(name) != said):
            raise BadData(f"the database of the backup {folder} holds a {kind} that no CLM makes: {name!r}")


def _triggers() -> dict[str, str]:
    """What a database of this CLM has, by name; those of older ones are among them."""
    with TemporaryDirectory(prefix="clm-restore-") as private:
        fresh = sqlite_url(Path(private) / DATABASE)
        upgrade(fresh)
        with opened(fresh) as engine, reading(engine) as connection:
            rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
            return {name: " ".join(sql.split()) for name, sql in rows}


def _require_files_of_rows(database: Path, folder: Path, manifest: Manifest) -> None:
    """What a version's row names is a file of this backup, as it was registered. Raises ArtifactCorrupt."""
    query = sa.select(versions).where(versions.c.pruned_at.is_(None), versions.c.quarantined_at.is_(None))
    with opened(sqlite_url(database)) as engine, reading(engine) as connection:
        for row in connection.execute(query):
            known = manifest.models.get(row.file_path)
            if known is None or known.sha256 != row.artifact_sha256:
                raise ArtifactCorrupt(
                    f"the backup {folder} has no such file as {row.model_type} {row.version} names: "
                    f"{row.file_path!r}"
                )


def _bring(store: ArtifactStore, folder: Path, manifest: Manifest, name: str) -> None:
    raw = read_regular(folder / MODELS / name)
    if hashlib.sha256(raw).hexdigest() != manifest.models[name].sha256:
        raise ArtifactCorrupt(f"{folder / MODELS / name} changed while it was being restored")
    store.put(name, raw)
