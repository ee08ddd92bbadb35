"""Model files: written aside, fsynced, linked into place, hashed; read once, checked, only then believed."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clm.core.domain import ModelArtifact
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput, StorageFailed

_TEMPORARY = ".clm-writing-"
#: Says whose models are in the folder, see `clm.registry.folder`.
_MARKER = ".clm-models"
QUARANTINE = "quarantine"
FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}"
_LEFTOVER_SECONDS = 3600
#: No model of ours comes near; what is larger is not read into memory to find out.
_LARGEST_BYTES = 1 << 30


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
        return self.put(f"{name}{suffix}", raw)

    def put(self, name: str, raw: bytes) -> Stored | None:
        """Stores `raw` for good under a name of its own; as `write`."""
        if not re.fullmatch(FILE_NAME, name):
            raise BadInput("model_type, version", name, "letters, digits, points, dashes and underscores")
        file = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            return self._write(file, raw)
        except OSError as exc:
            raise StorageFailed(f"the model cannot be written to {file}: {exc.strerror or exc}") from exc

    def read(self, artifact: ModelArtifact) -> bytes:
        """The bytes of a registered version, proven to be those that were registered.

        Raises ArtifactMissing (also for one put away), ArtifactCorrupt (altered, quarantined, no file of a
        model's size, or a path that leaves the folder), StorageFailed.
        """
        said = f"{artifact.model_type} {artifact.version} of {artifact.series}"
        if artifact.quarantined_at is not None:
            raise ArtifactCorrupt(f"{said} is in quarantine: {artifact.quarantine_reason}")
        if artifact.pruned_at is not None:
            raise ArtifactMissing(f"the file of {said} was put away by retention")
        file = self.locate(artifact)
        try:
            kind = file.stat()
            if not stat.S_ISREG(kind.st_mode) or kind.st_size > _LARGEST_BYTES:
                raise ArtifactCorrupt(f"the file of {said} is no model: {file} ({kind.st_size:,} bytes)")
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
        outside = ArtifactCorrupt(
            f"the registry names a file outside the model folder for {artifact.model_type} "
            f"{artifact.version}: {artifact.file_path!r}"
        )
        folder = self.folder.resolve()
        try:
            file = (folder / (artifact.file_path or "")).resolve()
        except (OSError, RuntimeError, ValueError) as exc:
            # A name no file can have, or links that lead in a circle.
            raise outside from exc
        if not artifact.file_path or folder not in file.parents:
            raise outside
        return file

    def remove(self, stored: Stored) -> None:
        """Takes a file away whose row was never written."""
        (self.folder / stored.path).unlink(missing_ok=True)

    def marker(self) -> str | None:
        """Whose models the folder says it holds; None where it says nothing."""
        try:
            return (self.folder / _MARKER).read_text().strip() or None
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StorageFailed(f"{self.folder / _MARKER} cannot be read: {exc.strerror}") from exc

    def mark(self, identity: str, *, again: bool = False) -> str:
        """Lets the folder say so, unless it says something already, and answers what it says from now on.

        again: whatever it says.
        """
        aside = self.folder / f"{_TEMPORARY}{secrets.token_hex(6)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with aside.open("x") as out:
                out.write(identity + "\n")
                out.flush()
                os.fsync(out.fileno())
            if again:
                aside.replace(self.folder / _MARKER)
            else:
                with suppress(FileExistsError):
                    os.link(aside, self.folder / _MARKER)
                aside.unlink()
        except OSError as exc:
            raise StorageFailed(f"{self.folder / _MARKER} cannot be written: {exc.strerror}") from exc
        return self.marker() or identity

    def put_away(self, artifact: ModelArtifact) -> None:
        """Deletes the file of a version whose row says so already. Raises StorageFailed."""
        try:
            self.locate(artifact).unlink(missing_ok=True)
        except OSError as exc:
            raise StorageFailed(f"{artifact.file_path} cannot be deleted: {exc.strerror}") from exc

    def set_aside(self, name: str, stamp: str) -> None:
        """Moves a file that cannot be trusted into the quarantine folder. Raises StorageFailed."""
        try:
            (self.folder / QUARANTINE).mkdir(exist_ok=True)
            (self.folder / name).rename(self.folder / QUARANTINE / f"{name}.{stamp}")
        except FileNotFoundError:
            # It is missing: that is what is wrong with it.
            return
        except OSError as exc:
            raise StorageFailed(f"{name} cannot be moved to quarantine: {exc.strerror}") from exc

    def age_seconds(self, name: str) -> float:
        """Since a file was written; 0 for one that is gone."""
        try:
            return time.time() - (self.folder / name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

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
