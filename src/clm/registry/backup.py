"""A backup: a copy of the database as it was at one moment, and the model files that its rows name.

It is taken while services work. The folder appears under its name when it is complete, or never.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from clm.core.domain import ModelArtifact, Progress
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, NotEmpty, StorageFailed, TransientError
from clm.registry.artifacts import ArtifactStore
from clm.registry.copy import CopiedTable, Listener, as_it_is, copy_rows
from clm.registry.engine import opened, reading, sqlite_url
from clm.registry.manifest import DATABASE, MANIFEST, MODELS, Manifest, StoredFile, describe
from clm.registry.migrate import HEAD
from clm.registry.rows import artifact_of
from clm.registry.tables import versions

_ASIDE = ".clm-backup-"
#: A backup that is being taken writes all the time; one that has not for so long was killed.
_LEFTOVER_SECONDS = 3600
#: How often retention may put a file away between the snapshot and its copy, before we give up.
_ATTEMPTS = 10


def back_up(db_url: str, model_dir: Path | str, folder: Path, listen: Listener | None = None) -> Manifest:
    """Takes a backup into `folder`, which must not exist or be empty.

    Raises NotEmpty, NotFound and DatabaseTooOld (of the database), ArtifactMissing or ArtifactCorrupt (a
    registered file is damaged: a backup is sound or is none), StorageFailed, TransientError.
    """
    store = ArtifactStore(model_dir)
    with _appearing(folder) as aside:
        models = aside / MODELS
        models.mkdir()
        copied: dict[str, StoredFile] = {}
        for _ in range(_ATTEMPTS):
            taken = _take(db_url, store, aside, copied, listen)
            if taken is not None:
                break
        else:
            raise TransientError("model files went away faster than they could be copied; try again later")
        taken_at, tables, files = taken
        for superfluous in {file.name for file in models.iterdir()} - files.keys():
            (models / superfluous).unlink()
        manifest = Manifest(
            clm=version("quantum-clm"), revision=HEAD, taken_at=taken_at, tables=tuple(tables),
            files={
                DATABASE: describe(aside / DATABASE),
                **{f"{MODELS}/{name}": stored for name, stored in sorted(files.items())},
            },
        )  # fmt: skip
        _write(aside / MANIFEST, manifest.model_dump_json(indent=2).encode())
        _sync(models)
        _sync(aside)
    return manifest


Taken = tuple[datetime, list[CopiedTable], dict[str, StoredFile]]


def _take(
    db_url: str, store: ArtifactStore, aside: Path, copied: dict[str, StoredFile], listen: Listener | None
) -> Taken | None:
    """One attempt: a snapshot's files, then its rows. None where a file was put away meanwhile.

    Files first: what a snapshot names now may be gone in an hour, its rows are not. Registered files never
    change: what earlier attempts have `copied` is not read again, so each has less to do than the one before.
    """
    with as_it_is(db_url) as snapshot:
        taken_at = datetime.now(UTC)
        query = sa.select(versions).where(versions.c.pruned_at.is_(None), versions.c.quarantined_at.is_(None))
        rows = snapshot.execute(query.order_by(versions.c.id)).all()
        files: dict[str, StoredFile] = {}
        for row in rows:
            artifact = artifact_of(row)
            try:
                if row.file_path not in copied:
                    copied[row.file_path] = _copy_model(store, artifact, aside / MODELS)
            except (ArtifactMissing, ArtifactCorrupt) as error:
                if _put_away_since(db_url, row.id):
                    return None
                hint = "set it aside with `clm verify --fix`, then take the backup again"
                raise type(error)(f"{error}; {hint}") from error
            files[row.file_path] = copied[row.file_path]
            if listen is not None:
                listen(Progress(step="models", message="copying models", done=len(files), total=len(rows)))
        return taken_at, copy_rows(snapshot, sqlite_url(aside / DATABASE), listen), files


def _copy_model(store: ArtifactStore, artifact: ModelArtifact, folder: Path) -> StoredFile:
    """Raises ArtifactMissing, ArtifactCorrupt."""
    raw = store.read(artifact)
    file = folder / str(artifact.file_path)
    if file.parent != folder:
        raise ArtifactCorrupt(f"the registry names a file in a folder of its own: {artifact.file_path!r}")
    _write(file, raw)
    return StoredFile(bytes=len(raw), sha256=str(artifact.artifact_sha256))


def _put_away_since(db_url: str, row_id: int) -> bool:
    """Whether the row says by now that its file is gone; it says so before the file goes."""
    query = sa.select(versions.c.pruned_at, versions.c.quarantined_at).where(versions.c.id == row_id)
    with opened(db_url) as engine, reading(engine) as connection:
        return any(moment is not None for moment in connection.execute(query).one())


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder that takes the name of `folder` when left without an error. Raises NotEmpty, StorageFailed."""
    place = folder.absolute()
    try:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise NotEmpty(f"{folder} is there already; a backup gets a folder of its own")
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        aside = place.parent / f"{_ASIDE}{secrets.token_hex(6)}"
        aside.mkdir()
        try:
            yield aside
            aside.rename(place)
            _sync(place.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as exc:
        raise StorageFailed(f"the backup {folder} cannot be written: {exc.strerror or exc}") from exc


def _sweep(folder: Path) -> None:
    """Removes what backups that were killed left behind."""
    for leftover in folder.glob(f"{_ASIDE}*"):
        try:
            newest = max(file.lstat().st_mtime for file in (leftover, *leftover.rglob("*")))
        except FileNotFoundError:
            # It is being taken, and has just got on.
            continue
        if time.time() - newest > _LEFTOVER_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)


def _write(file: Path, raw: bytes) -> None:
    with file.open("xb") as out:
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
