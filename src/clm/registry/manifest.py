"""What a backup says of itself: `manifest.json`, the file that is written last."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from clm.core.errors import ArtifactCorrupt, ArtifactMissing, BadData, DatabaseTooNew, NotFound, StorageFailed
from clm.core.regular import open_regular, read_regular
from clm.registry.copy import CopiedTable
from clm.registry.files import FILE_NAME
from clm.registry.migrate import KNOWN

MANIFEST, DATABASE, MODELS = "manifest.json", "clm.db", "models"

#: The database, or a model file; nothing that leads out of the folder.
FileName = Annotated[str, StringConstraints(pattern=rf"^({re.escape(DATABASE)}|{MODELS}/{FILE_NAME})$")]


class StoredFile(BaseModel):
    """A file as it was when the backup was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """clm: the version that took the backup. taken_at: the moment of the snapshot, the machine's clock.

    tables: rows and checksums as `clm db copy` shows them. files: by their path in the backup's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    clm: str
    revision: str
    taken_at: datetime
    tables: tuple[CopiedTable, ...]
    files: Mapping[FileName, StoredFile]

    @property
    def models(self) -> Mapping[str, StoredFile]:
        """Model files by their name in the model folder."""
        return {
            name.removeprefix(f"{MODELS}/"): stored for name, stored in self.files.items() if name != DATABASE
        }


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a complete backup. Raises NotFound, BadData, DatabaseTooNew, StorageFailed."""
    try:
        text = read_regular(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"{folder} is no backup: it has no {MANIFEST}") from exc
    except OSError as exc:
        raise StorageFailed(f"{folder / MANIFEST} cannot be read: {exc.strerror}") from exc
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadData(f"{folder / MANIFEST} is no manifest of a backup: {where}: {first['msg']}") from exc
    if DATABASE not in manifest.files:
        raise BadData(f"{folder / MANIFEST} names no {DATABASE}")
    if manifest.revision not in KNOWN:
        raise DatabaseTooNew(
            f"the backup {folder} was taken by CLM {manifest.clm} at revision {manifest.revision}; this CLM "
            f"knows {', '.join(KNOWN)}: restore it with that CLM, or a newer one"
        )
    return manifest


def check(folder: Path, name: str, stored: StoredFile) -> None:
    """Raises ArtifactMissing, ArtifactCorrupt, StorageFailed."""
    if describe(folder / name) != stored:
        raise ArtifactCorrupt(f"{folder / name} is not the file that was backed up")


def describe(file: Path) -> StoredFile:
    """Size and hash of a file. Raises ArtifactMissing, StorageFailed."""
    try:
        with open_regular(file) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            return StoredFile(bytes=opened.tell(), sha256=digest)
    except FileNotFoundError as exc:
        raise ArtifactMissing(f"{file} is missing") from exc
    except OSError as exc:
        raise StorageFailed(f"{file} cannot be read: {exc.strerror}") from exc
