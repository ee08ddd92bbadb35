"""Model files: written once under a name of their own, hashed; read once, checked, only then believed."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from clm.core.domain import ModelArtifact
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput
from clm.registry.files import FILE_NAME, files_at

#: Says whose models are in the folder, see `clm.registry.folder`.
_MARKER = ".clm-models"
QUARANTINE = "quarantine"
#: No model of ours comes near; what is larger is not read into memory to find out.
_LARGEST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store: its path relative to the folder, and the SHA-256 of its bytes."""

    path: str
    sha256: str


class ArtifactStore:
    """The model files of a folder, or below the URL of an object store. Raises InvalidSetting."""

    def __init__(self, where: Path | str) -> None:
        self._files = files_at(where)

    def __str__(self) -> str:
        return str(self._files)

    def write(self, artifact: ModelArtifact, suffix: str, raw: bytes) -> Stored | None:
        """Stores `raw` for good; None when a file of that name exists. Raises StorageFailed, BadInput."""
        name = f"{artifact.model_type}_{artifact.version}_{artifact.series.symbol}_{artifact.series.interval}"
        return self.put(f"{name}{suffix}", raw)

    def put(self, name: str, raw: bytes) -> Stored | None:
        """Stores `raw` for good under a name of its own; as `write`."""
        if not re.fullmatch(FILE_NAME, name):
            raise BadInput("model_type, version", name, "letters, digits, points, dashes and underscores")
        if not self._files.create(name, raw):
            return None
        return Stored(name, hashlib.sha256(raw).hexdigest())

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
        name = self.name_of(artifact)
        found = self._files.about(name)
        if found is not None and not 0 <= found.bytes <= _LARGEST_BYTES:
            raise ArtifactCorrupt(f"the file of {said} is no model: {self._files.told(name)}")
        raw = None if found is None else self._files.read(name)
        if raw is None:
            raise ArtifactMissing(f"the file of {said} is missing: {self._files.told(name)}")
        if hashlib.sha256(raw).hexdigest() != artifact.artifact_sha256:
            raise ArtifactCorrupt(
                f"the file of {said} is not the one that was registered: {self._files.told(name)}"
            )
        return raw

    def name_of(self, artifact: ModelArtifact) -> str:
        """The file of a version, there or not. Raises ArtifactCorrupt for a path outside the folder."""
        name = artifact.file_path
        if not name or not self._files.holds(name):
            raise ArtifactCorrupt(
                f"the registry names a file outside the model folder for {artifact.model_type} "
                f"{artifact.version}: {name!r}"
            )
        return name

    def holds(self, name: str, sha256: str | None) -> bool:
        """Whether there is a file of this name with these bytes. Raises StorageFailed."""
        found = self._files.about(name) if self._files.holds(name) else None
        raw = None if found is None or found.bytes < 0 else self._files.read(name)
        return raw is not None and hashlib.sha256(raw).hexdigest() == sha256

    def has(self, name: str) -> bool:
        """Whether there is a file of this name in here. Raises StorageFailed."""
        return self._files.holds(name) and self._files.about(name) is not None

    def stamp(self, name: str) -> Hashable | None:
        """Stays the same as long as the file does; None where there is none. Raises StorageFailed."""
        found = self._files.about(name)
        return None if found is None else found.stamp

    def remove(self, stored: Stored) -> None:
        """Takes a file away whose row was never written."""
        self._files.delete(stored.path)

    def marker(self) -> str | None:
        """Whose models the folder says it holds; None where it says nothing."""
        said = self._files.read(_MARKER)
        return said.decode(errors="replace").strip() or None if said is not None else None

    def mark(self, identity: str, *, again: bool = False) -> str:
        """Lets the folder say so, unless it says something already, and answers what it says from now on.

        again: whatever it says.
        """
        line = f"{identity}\n".encode()
        if again:
            self._files.replace(_MARKER, line)
        else:
            self._files.create(_MARKER, line)
        return self.marker() or identity

    def check(self, identity: str) -> None:
        """Raises StorageFailed where a file may be replaced by another of its name; the folder is marked."""
        self._files.check(_MARKER, f"{identity}\n".encode())

    def put_away(self, artifact: ModelArtifact) -> None:
        """Deletes the file of a version whose row says so already. Raises StorageFailed."""
        if artifact.file_path and self._files.holds(artifact.file_path):
            self._files.delete(artifact.file_path)

    def set_aside(self, name: str, stamp: str) -> None:
        """Moves a file that cannot be trusted into the quarantine folder. Raises StorageFailed."""
        # Where it is missing, or lies elsewhere, that is what is wrong with it.
        if self._files.holds(name):
            self._files.move(name, f"{QUARANTINE}/{name}.{stamp}")

    def age_seconds(self, name: str) -> float:
        """Since a file was written; 0 for one that is gone."""
        written_at = self._files.written_at(name)
        return 0.0 if written_at is None else time.time() - written_at

    def files(self) -> set[str]:
        """Names of all files that look like models."""
        return {name for name in self._files.names() if re.search(r"_v\d{8}_\d{6}", name)}
