"""Files kept in order with their rows: set aside what cannot be trusted, put away what is old, sweep up."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from clm.core.alert import Alert
from clm.core.domain import ModelArtifact, Series, VersionStatus
from clm.core.errors import ArtifactCorrupt
from clm.core.experiments import State
from clm.registry.alerts import close_alert
from clm.registry.artifacts import ArtifactStore
from clm.registry.database import Database
from clm.registry.rows import artifact_of, of_series
from clm.registry.tables import experiments, versions

#: A file without a row may be one that is being written just now; after so long it is not.
_ORPHAN_SECONDS = 3600.0
#: Versions that may still be needed as they are.
_IN_USE = (str(VersionStatus.ACTIVE), str(VersionStatus.SHADOW), str(VersionStatus.CANDIDATE))
#: Its arms answer callers and forecast until it ends.
_IN_AN_EXPERIMENT = sa.exists().where(
    experiments.c.state == str(State.OPEN),
    experiments.c.model_type == versions.c.model_type, experiments.c.symbol == versions.c.symbol,
    experiments.c.interval == versions.c.interval,
    sa.or_(experiments.c.version_a == versions.c.version, experiments.c.version_b == versions.c.version),
)  # fmt: skip


class Upkeep:
    """Of all series in one database and one model folder."""

    def __init__(self, database: Database, files: ArtifactStore) -> None:
        self._database, self._files = database, files

    def quarantine(self, artifact: ModelArtifact, reason: str) -> None:
        """The row says so first, then the file moves: a crash in between leaves it where it is, unread."""
        now = datetime.now(UTC)
        with self._database.writing() as connection:
            marked = connection.execute(
                versions.update()
                .where(of_series(artifact.series, artifact.model_type))
                .where(versions.c.version == artifact.version, versions.c.quarantined_at.is_(None))
                .values(quarantined_at=now, quarantine_reason=reason)
            )
        if marked.rowcount and artifact.file_path:
            self._files.set_aside(artifact.file_path, f"{now:%Y%m%d_%H%M%S}")

    def stamp(self, artifact: ModelArtifact) -> Hashable | None:
        """Of a version's file; None where it is missing. Raises ArtifactCorrupt, StorageFailed.

        As long as it stays the same, so does what `load_model` comes to.
        """
        return self._files.stamp(self._files.name_of(artifact))

    def retain(self, keep: int) -> list[str]:
        """Deletes files of RETIRED versions but for the newest `keep` of each series and model type.

        Never that of a version in use, nor of the one the champion replaced: it is guarded, and is what a
        rollback goes back to; nor of an arm of an open experiment. Rows and evidence stay. Answers the names
        of the files.
        """
        now = datetime.now(UTC)
        gone = []
        for artifact in self._old(keep):
            with self._database.writing() as connection:
                marked = connection.execute(
                    versions.update()
                    .where(of_series(artifact.series, artifact.model_type))
                    .where(versions.c.version == artifact.version)
                    .where(versions.c.status == str(VersionStatus.RETIRED), ~_IN_AN_EXPERIMENT)
                    .values(pruned_at=now)
                )
            if marked.rowcount:
                self._files.put_away(artifact)
                gone.append(str(artifact.file_path))
        return gone + self._left_behind()

    def set_orphans_aside(self) -> list[str]:
        """Moves files that no version is registered under into quarantine; answers their names."""
        now = datetime.now(UTC)
        orphans = [name for name in self.orphans() if self._files.age_seconds(name) > _ORPHAN_SECONDS]
        for name in orphans:
            self._files.set_aside(name, f"{now:%Y%m%d_%H%M%S}")
        return orphans

    def orphans(self) -> list[str]:
        """Files that no version is registered under: left by a crash between file and row."""
        with self._database.reading() as connection:
            known = set(connection.execute(sa.select(versions.c.file_path)).scalars())
        return sorted(self._files.files() - known)

    def take_back(self) -> list[ModelArtifact]:
        """Ends the quarantine of versions whose file is there again, as it was registered."""
        query = sa.select(versions).where(versions.c.quarantined_at.is_not(None))
        back = []
        for artifact in self._artifacts(query):
            if not self._files.holds(str(artifact.file_path), artifact.artifact_sha256):
                continue
            with self._database.writing() as connection:
                connection.execute(
                    versions.update()
                    .where(of_series(artifact.series, artifact.model_type))
                    .where(versions.c.version == artifact.version)
                    .values(quarantined_at=None, quarantine_reason=None)
                )
                _whole_again(connection, artifact)
            back.append(artifact)
        return back

    def put_back(self, artifact: ModelArtifact, raw: bytes) -> None:
        """The file of a version, in its place again; ends quarantine and what retention noted.

        Raises ArtifactCorrupt for other bytes than those that were registered, StorageFailed.
        """
        if hashlib.sha256(raw).hexdigest() != artifact.artifact_sha256:
            said = f"{artifact.model_type} {artifact.version} of {artifact.series}"
            raise ArtifactCorrupt(f"these bytes are not the file of {said}")
        name = self._files.name_of(artifact)
        if not self._files.holds(name, artifact.artifact_sha256):
            # An altered file that nobody has noticed yet.
            self._files.set_aside(name, f"{datetime.now(UTC):%Y%m%d_%H%M%S}")
            self._files.put(name, raw)
        with self._database.writing() as connection:
            connection.execute(
                versions.update()
                .where(of_series(artifact.series, artifact.model_type))
                .where(versions.c.version == artifact.version)
                .values(quarantined_at=None, quarantine_reason=None, pruned_at=None)
            )
            _whole_again(connection, artifact)
        # Retention, while the row still said that it was put away, may have swept it up once more.
        self._files.put(name, raw)

    def _old(self, keep: int) -> list[ModelArtifact]:
        query = sa.select(versions).order_by(versions.c.trained_at.desc(), versions.c.id.desc())
        groups: dict[tuple[str, Series], list[ModelArtifact]] = defaultdict(list)
        for artifact in self._artifacts(query):
            groups[artifact.model_type, artifact.series].append(artifact)
        return [old for group in groups.values() for old in _beyond(group, keep)]

    def _left_behind(self) -> list[str]:
        """Files whose row says they were put away: a crash came between the two."""
        left = [
            artifact
            for artifact in self._artifacts(sa.select(versions).where(versions.c.pruned_at.is_not(None)))
            if self._files.has(str(artifact.file_path))
        ]
        for artifact in left:
            self._files.put_away(artifact)
        return [str(artifact.file_path) for artifact in left]

    def _artifacts(self, query: sa.Select[Any]) -> list[ModelArtifact]:
        with self._database.reading() as connection:
            return [artifact_of(row) for row in connection.execute(query)]


def _beyond(newest_first: Sequence[ModelArtifact], keep: int) -> list[ModelArtifact]:
    """What retention takes of one series and model type."""
    needed = {a.replaced_version for a in newest_first if a.status is VersionStatus.ACTIVE}
    return [
        artifact
        for artifact in newest_first[keep:]
        if str(artifact.status) not in _IN_USE
        and artifact.version not in needed
        and artifact.pruned_at is None
        and artifact.quarantined_at is None
    ]


def _whole_again(connection: sa.Connection, artifact: ModelArtifact) -> None:
    """That its file was set aside needs nobody any more."""
    aside = Alert("artifact_quarantined", artifact.series, artifact.model_type, artifact.version, "")
    close_alert(connection, aside.incident)
