"""Is this folder the one this database's models are in? Else a missing file says nothing about its version.

A disk that is not mounted, or a replica with a folder of its own, must not put every champion in quarantine.
So folder and database carry the same identity: a hidden file here, a row there.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core.errors import ArtifactCorrupt, ArtifactMissing, StorageFailed
from clm.registry.artifacts import ArtifactStore
from clm.registry.database import Database
from clm.registry.rows import artifact_of
from clm.registry.tables import identity, versions

_NAME = "model_folder"


class ModelFolder:
    """The claim of one database on one folder."""

    def __init__(self, database: Database, files: ArtifactStore) -> None:
        self._database, self._files = database, files
        self._claimed = False

    def claim(self) -> None:
        """Before the first file is written. Raises StorageFailed where the models are elsewhere."""
        if self._claimed:
            return
        known = self._known()
        if known is None:
            # The folder first, and once: of several processes that begin here all read the same.
            known = self._remember(self._files.marker() or self._files.mark(secrets.token_hex(16)))
        if self._files.marker() != known:
            raise StorageFailed(self._elsewhere())
        self._files.check(known)
        self._claimed = True

    def require(self) -> None:
        """When a file is missing: raises StorageFailed unless the folder is the right one."""
        if self._known() not in (None, self._files.marker()):
            raise StorageFailed(self._elsewhere())

    def adopt(self) -> bool:
        """Makes the folder the right one if every registered file is in it as it should be: it was moved, or
        brought back from a backup. Whether anything had to be done.
        """
        known = self._known()
        if known is None or self._files.marker() == known:
            return False
        with self._database.reading() as connection:
            registered = [artifact_of(row) for row in connection.execute(sa.select(versions))]
        for artifact in registered:
            if artifact.pruned_at is None and artifact.quarantined_at is None:
                try:
                    self._files.read(artifact)
                except (ArtifactMissing, ArtifactCorrupt):
                    return False
        self._files.mark(known, again=True)
        return True

    def _elsewhere(self) -> str:
        return (
            f"{self._files} is not the folder this database's models are in: is its disk mounted, and "
            "do all services share it? If it was moved, `clm verify --fix` adopts it once all files are there"
        )

    def _known(self) -> str | None:
        query = sa.select(identity.c.value).where(identity.c.name == _NAME)
        with self._database.reading() as connection:
            found: str | None = connection.execute(query).scalar()
        return found

    def _remember(self, value: str) -> str:
        try:
            with self._database.writing(fenced=False) as connection:
                connection.execute(identity.insert().values(name=_NAME, value=value))
        except IntegrityError:
            # Another process came first: its word counts.
            return self._known() or value
        return value
