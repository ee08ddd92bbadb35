"""Model files: written aside, fsynced, linked into place, hashed; read once, checked, only then believed."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from clm.core.domain import ModelArtifact
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput, StorageFailed

_TEMPORARY = ".clm-writing-"
_LEFTOVER_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store: its path relative to the folder, and the SHA-256 of its bytes."""

    path: str
    sha256: str


class ArtifactStore:
    """Files below one folder, made when first written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def write(self, artifact: ModelArtifact, suffix: str, raw: bytes) -> Stored | None:
        """Stores `raw` for good; None when a file of that name exists. Raises StorageFailed, BadInput."""
        name = f"{artifact.model_type}_{artifact.version}_{artifact.series.symbol}_{artifact.series.interval}"
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", name + suffix):
            raise BadInput("model_type, version", name, "letters, digits, points, dashes and underscores")
        file = self.folder / f"{name}{suffix}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            return self._write(file, raw)
        except OSError as exc:
            raise StorageFailed(f"the model cannot be written to {file}: {exc.strerror or exc}") from exc

    def read(self, artifact: ModelArtifact) -> bytes:
        """The bytes of a registered version, proven to be those that were registered.

        Raises ArtifactMissing, ArtifactCorrupt (altered, or a path that leaves the folder), StorageFailed.
        """
        said = f"{artifact.model_type} {artifact.version} of {artifact.series}"
        file = self.locate(artifact)
        try:
            raw = file.read_bytes()
        except FileNotFoundError as exc:
            raise ArtifactMissing(f"the file of {said} is missing: {file}") from exc
        except OSError as exc:
            raise StorageFailed(f"the file of {said} cannot be read: {file}: {exc.strerror}") from exc
        if hashlib.sha256(raw).hexdigest() != artifact.artifact_sha256:
            raise ArtifactCorrupt(f"the file of {said} is not the one that was registered: {file}")
        return raw

    def locate(self, artifact: ModelArtifact) -> Path:
        """Where the file of a version is. Raises ArtifactCorrupt for a path outside the folder."""
        folder = self.folder.resolve()
        file = (folder / (artifact.file_path or "")).resolve()
        if not artifact.file_path or folder not in file.parents:
            raise ArtifactCorrupt(
                f"the registry names a file outside the model folder for {artifact.model_type} "
                f"{artifact.version}: {artifact.file_path!r}"
            )
        return file

    def remove(self, stored: Stored) -> None:
        """Takes a file away whose row was never written."""
        (self.folder / stored.path).unlink(missing_ok=True)

    def files(self) -> set[str]:
        """Names of all files that look like models."""
        if not self.folder.is_dir():
            return set()
        return {p.name for p in self.folder.iterdir() if p.is_file() and re.search(r"_v\d{8}_\d{6}", p.name)}

    def _write(self, file: Path, raw: bytes) -> Stored | None:
        # Not tempfile's: those are closed to the group, whatever the umask says.
        aside = self.folder / f"{_TEMPORARY}{secrets.token_hex(6)}"
        try:
            with aside.open("xb") as out:
                out.write(raw)
                out.flush()
                os.fsync(out.fileno())
            try:
                # A link, unlike a rename, never replaces a file that is already there.
                os.link(aside, file)
            except FileExistsError:
                return None
        finally:
            aside.unlink(missing_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Stored(file.name, hashlib.sha256(raw).hexdigest())

    def _sweep(self) -> None:
        """Removes what processes that died while writing left behind."""
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            try:
                age = time.time() - leftover.stat().st_mtime
            except FileNotFoundError:
                # Another process has just finished writing it.
                continue
            if age > _LEFTOVER_SECONDS:
                leftover.unlink(missing_ok=True)
