"""Brings a backup back, into an empty database and an empty model folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from clm.core.domain import Progress
from clm.core.errors import ArtifactCorrupt, NotEmpty, StorageFailed
from clm.registry.artifacts import ArtifactStore
from clm.registry.copy import Listener, copy_database, require_empty
from clm.registry.database import Database
from clm.registry.engine import opened, reading, sqlite_url
from clm.registry.folder import ModelFolder
from clm.registry.manifest import DATABASE, MODELS, Manifest, check, read_manifest
from clm.registry.migrate import require_head, revision_of, upgrade


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
            upgrade(sqlite_url(database))
            yield database
    except OSError as exc:
        raise StorageFailed(f"the backup {folder} cannot be restored: {exc.strerror or exc}") from exc


def _bring(store: ArtifactStore, folder: Path, manifest: Manifest, name: str) -> None:
    raw = (folder / MODELS / name).read_bytes()
    if hashlib.sha256(raw).hexdigest() != manifest.models[name].sha256:
        raise ArtifactCorrupt(f"{folder / MODELS / name} changed while it was being restored")
    store.put(name, raw)
