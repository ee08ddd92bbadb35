"""SQLModelRegistry: versions in SQL, files beside it, every change one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clm.core import plugins
from clm.core.alert import Alert
from clm.core.domain import Decision, ModelArtifact, Outcome, Series, VersionStatus, version_name
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    ChampionChanged,
    ClmError,
    DecisionNotFound,
    UnknownModelType,
    UnreadableHere,
    VersionExists,
    VersionNotFound,
)
from clm.core.protocols import TrainedModel
from clm.logs import logger
from clm.registry.alerts import raise_alert
from clm.registry.artifacts import ArtifactStore
from clm.registry.asked import Asked, made_and_read
from clm.registry.book import SQLEvidenceBook
from clm.registry.database import Database
from clm.registry.folder import ModelFolder
from clm.registry.rows import artifact_of, decision_of, of_series, version_values
from clm.registry.tables import decisions, versions
from clm.registry.transitions import activate, active, append, by_hand, recorded, settle
from clm.registry.upkeep import Upkeep
from clm.registry.verify import Finding, verify_all
from clm.settings import Settings

log = logger(__name__)
#: Savers in the same second compete for a name; each round one of them gets it.
_SAVE_ATTEMPTS = 100


class SQLModelRegistry:
    """The registry of one series (see `for_series`) in the database at `db_url`, files under `model_dir`,
    a folder or the URL of an object store.

    Arguments not given come from the settings. Building it connects nothing; the first use does, and brings
    an empty or older database up to date. patience: seconds a database that does not answer is waited for.
    """

    def __init__(
        self,
        db_url: str | None = None,
        model_dir: Path | str | None = None,
        *,
        series: Series | None = None,
        patience: float = 0,
    ) -> None:
        if db_url is None or model_dir is None or series is None:
            settings = Settings.load()
            db_url = settings.db_url if db_url is None else db_url
            model_dir = settings.model_dir if model_dir is None else model_dir
            series = series or Series(settings.symbols[0], settings.interval)
        self.series = series
        self.database = Database(db_url, patience=patience)
        self._files = ArtifactStore(model_dir)
        self.folder = ModelFolder(self.database, self._files)
        self._asked = Asked()
        self._by_series = {series: self}

    def for_series(self, series: Series) -> SQLModelRegistry:
        other = self._by_series.get(series)
        if other is None:
            other = object.__new__(SQLModelRegistry)
            other.series, other.database = series, self.database
            other._files, other.folder, other._asked = self._files, self.folder, self._asked
            # Made once for all who ask: of many series each asks for every other.
            other._by_series = self._by_series
            self._by_series[series] = other
        return other

    def get_active(self, model_type: str) -> ModelArtifact | None:
        with self.database.reading() as connection:
            row = active(connection, self.series, model_type)
        return None if row is None else artifact_of(row)

    def load_model(self, artifact: ModelArtifact) -> TrainedModel:
        try:
            raw = self._files.read(artifact)
        except ArtifactMissing:
            self.folder.require()
            raise
        said = f"{artifact.model_type} {artifact.version} of {artifact.series}"
        try:
            family = plugins.model_family(artifact.model_type)
        except UnknownModelType as exc:
            raise UnreadableHere(f"{said} cannot be read by this process: {exc}") from exc
        try:
            model = family.from_bytes(raw)
        except Exception as exc:
            # These are the bytes that were registered: whatever is wrong, it is the reader. A third party's
            # may raise anything.
            why = str(exc) if isinstance(exc, ClmError) else type(exc).__name__
            libraries = made_and_read(artifact, family.library_versions())
            raise UnreadableHere(
                f"{said} is intact, but this process cannot read it: {why}; {libraries}"
            ) from exc
        self._asked.require(artifact, family, model)
        return model

    def prepare(self) -> None:
        """See `PreparedRegistry`: a bucket that is missing, a folder that cannot be written to."""
        self.folder.claim()

    def save_model(self, artifact: ModelArtifact) -> ModelArtifact:
        if artifact.model is None:
            raise BadInput("artifact.model", None, "the trained model to store")
        if artifact.series != self.series:
            raise BadInput("artifact.series", str(artifact.series), f"{self.series}, this registry's series")
        raw, suffix = artifact.model.to_bytes(), artifact.model.suffix
        self.folder.claim()
        left: set[str] = set()
        for _ in range(_SAVE_ATTEMPTS):
            named = replace(artifact, version=self._free_version(artifact, left), model=None)
            stored = self._files.write(named, suffix, raw)
            if stored is None:
                # A file without a row, left by a crash: its name is taken all the same.
                left.add(named.version)
                continue
            try:
                with self.database.writing() as connection:
                    connection.execute(
                        versions.insert().values(version_values(named, stored.path, stored.sha256))
                    )
            except IntegrityError:
                self._files.remove(stored)
                continue
            except BaseException:
                self._files.remove(stored)
                raise
            return self._get(artifact.model_type, named.version)
        raise VersionExists(f"no free version name for {artifact.model_type} {artifact.version}")

    def promote(
        self,
        model_type: str,
        version: str,
        *,
        expected_active: str | None = None,
        check_expected: bool = False,
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        self.load_model(self._get(model_type, version))
        try:
            with self.database.writing() as connection:
                champion = active(connection, self.series, model_type)
                found = champion.version if champion is not None else None
                if check_expected and found != expected_active:
                    raise ChampionChanged(
                        f"the champion of {model_type} {self.series} is {found or 'none'}, "
                        f"no longer {expected_active or 'none'}; {version} was not promoted"
                    )
                if found != version:
                    said = decision or by_hand(model_type, version, found, "manual", "promoted by hand")
                    activate(
                        connection, self.series, model_type, version, champion, said, at,
                        run_id=self.database.run_id,
                    )  # fmt: skip
        except IntegrityError as exc:
            raise ChampionChanged(
                f"another promotion of {model_type} {self.series} came first; {version} was not promoted"
            ) from exc
        return self._get(model_type, version)

    def retire(
        self,
        model_type: str,
        version: str,
        *,
        reason: str = "",
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        self._get(model_type, version)
        now = at or datetime.now(UTC)
        with self.database.writing() as connection:
            changed = connection.execute(
                versions.update()
                .where(of_series(self.series, model_type), versions.c.version == version)
                .where(versions.c.status != str(VersionStatus.RETIRED))
                .values(status=str(VersionStatus.RETIRED), retired_at=now)
            )
            if changed.rowcount:
                said = by_hand(model_type, version, version, "retire", reason or "retired by hand")
                append(connection, self.series, decision or replace(said, outcome=Outcome.REJECT), now)
        return self._get(model_type, version)

    def rollback(
        self,
        model_type: str,
        *,
        reason: str = "",
        expected_active: str | None = None,
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        with self.database.reading() as connection:
            champion = active(connection, self.series, model_type)
        if champion is None:
            raise VersionNotFound(f"{model_type} of {self.series} has no champion to roll back")
        changed = ChampionChanged(
            f"the champion of {model_type} {self.series} changed meanwhile; nothing was rolled back"
        )
        if expected_active not in (None, champion.version):
            raise changed
        previous = self._previous_sound(model_type, champion)
        why = f"rolled back from {champion.version}" + (f": {reason}" if reason else "")
        said = decision or by_hand(model_type, previous.version, champion.version, "rollback", why)
        said = replace(said, candidate_version=previous.version)
        with self.database.writing() as connection:
            current = active(connection, self.series, model_type)
            if current is None or current.version != champion.version:
                raise changed
            activate(connection, self.series, model_type, previous.version, current, said, at, back=True)
        return self._get(model_type, previous.version)

    def quarantine(self, model_type: str, version: str, reason: str) -> ModelArtifact:
        artifact = self._get(model_type, version)
        if artifact.quarantined_at is None:
            log.warning("version_quarantined", model=model_type, version=version, reason=reason)
            self.upkeep.quarantine(artifact, reason)
            said = f"The file of {version} cannot be used and lies in quarantine. Why: {reason}"
            with self.database.writing(fenced=False) as connection:
                raise_alert(connection, Alert("artifact_quarantined", self.series, model_type, version, said))
        return self._get(model_type, version)

    def keep_answer(self, model_type: str, version: str, known: Mapping[str, Any]) -> None:
        with self.database.writing() as connection:
            connection.execute(
                versions.update()
                .where(of_series(self.series, model_type), versions.c.version == version)
                .where(versions.c.known_answer_json.is_(None))
                .values(known_answer_json=dict(known))
            )

    def reigning(self) -> tuple[tuple[str, ...], ...]:
        """Who reigns anywhere, and since when: equal as long as nothing has changed."""
        query = sa.select(
            versions.c.symbol, versions.c.interval, versions.c.model_type, versions.c.version,
            versions.c.artifact_sha256, versions.c.promoted_at,
        ).where(versions.c.status == str(VersionStatus.ACTIVE))  # fmt: skip
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(versions.c.id))
            return tuple(tuple(map(str, row)) for row in rows)

    def newest_decision(self) -> int:
        """Number of the newest decision about any series; 0 before the first."""
        query = sa.select(sa.func.max(decisions.c.id))
        with self.database.reading() as connection:
            return connection.execute(query).scalar() or 0

    def kept(self) -> list[tuple[Series, str]]:
        """Series and model types that have versions."""
        query = sa.select(versions.c.symbol, versions.c.interval, versions.c.model_type).distinct()
        with self.database.reading() as connection:
            rows = list(connection.execute(query.order_by(*query.selected_columns)))
        return [(Series(row.symbol, row.interval), row.model_type) for row in rows]

    @property
    def upkeep(self) -> Upkeep:
        """Order between files and rows, over all series."""
        return Upkeep(self.database, self._files)

    def get_model_history(self, model_type: str, limit: int = 10) -> list[ModelArtifact]:
        query = sa.select(versions).where(of_series(self.series, model_type))
        query = query.order_by(versions.c.trained_at.desc(), versions.c.id.desc()).limit(limit)
        with self.database.reading() as connection:
            return [artifact_of(row) for row in connection.execute(query)]

    def record_decision(self, decision: Decision, status: VersionStatus | None = None) -> bool:
        now = decision.decided_at or datetime.now(UTC)
        with self.database.writing() as connection:
            if status is None:
                if recorded(connection, self.series, decision, now):
                    return False
            elif not settle(connection, self.series, decision, status, now):
                return False
            append(connection, self.series, decision, now)
        return True

    @property
    def book(self) -> SQLEvidenceBook:
        return SQLEvidenceBook(self.database, self.series)

    def challengers(self, model_type: str) -> list[ModelArtifact]:
        query = sa.select(versions).where(
            of_series(self.series, model_type), versions.c.status == str(VersionStatus.SHADOW)
        )
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(versions.c.trained_at, versions.c.id))
            return [artifact_of(row) for row in rows]

    def get_rise(self, model_type: str, version: str, at: datetime) -> Decision | None:
        query = sa.select(decisions).where(
            decisions.c.symbol == self.series.symbol, decisions.c.interval == self.series.interval,
            decisions.c.model_type == str(model_type), decisions.c.candidate_version == version,
            decisions.c.outcome == str(Outcome.PROMOTE), decisions.c.decided_at == at,
        )  # fmt: skip
        with self.database.reading() as connection:
            row = connection.execute(query.order_by(decisions.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else decision_of(row)

    def get_version(self, model_type: str, version: str) -> ModelArtifact:
        return self._get(model_type, version)

    def get_decision(self, decision_id: int) -> tuple[Series, Decision]:
        """One decision of any series. Raises DecisionNotFound."""
        query = sa.select(decisions).where(decisions.c.id == decision_id)
        row = None
        # Beyond it no column holds an id, and a database does not take it for one.
        if 0 < decision_id < 2**31:
            with self.database.reading() as connection:
                row = connection.execute(query).one_or_none()
        if row is None:
            raise DecisionNotFound(f"no decision has the id {decision_id}")
        return Series(row.symbol, row.interval), decision_of(row)

    def get_decisions(
        self,
        model_type: str | None = None,
        limit: int = 20,
        *,
        label: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[Decision]:
        query = sa.select(decisions).where(
            decisions.c.symbol == self.series.symbol, decisions.c.interval == self.series.interval
        )
        if model_type is not None:
            query = query.where(decisions.c.model_type == str(model_type))
        if label is not None:
            query = query.where(decisions.c.label == label)
        if since is not None:
            query = query.where(decisions.c.decided_at >= since)
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(decisions.c.id.desc()).limit(limit))
            return [decision_of(row) for row in rows]

    def verify(self) -> list[Finding]:
        """What is wrong with any version of any series; empty when all is well. Reads every file."""
        with self.database.reading() as connection:
            rows = [(row, artifact_of(row)) for row in connection.execute(sa.select(versions))]
        return verify_all(rows, self._files, self.load_model)

    def close(self) -> None:
        """Gives the connections back; for all registries made from this one by `for_series`."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, model_type: str, version: str) -> ModelArtifact:
        row = self._row(model_type, version)
        if row is None:
            raise VersionNotFound(f"{model_type} of {self.series} has no version {version!r}")
        return artifact_of(row)

    def _row(self, model_type: str, version: str | None) -> sa.Row[Any] | None:
        query = sa.select(versions).where(of_series(self.series, model_type), versions.c.version == version)
        with self.database.reading() as connection:
            return connection.execute(query).one_or_none()

    def _free_version(self, artifact: ModelArtifact, besides: Set[str]) -> str:
        """The version's own name, or the next one that no row has, nor any of `besides`."""
        query = sa.select(versions.c.version).where(of_series(self.series, artifact.model_type))
        with self.database.reading() as connection:
            taken = frozenset(connection.execute(query).scalars()) | besides
        if artifact.version not in taken:
            return artifact.version
        return version_name(artifact.trained_at, taken)

    def _previous_sound(self, model_type: str, champion: sa.Row[Any]) -> ModelArtifact:
        """The version the champion replaced, or the one before it where that one no longer loads."""
        unsound: list[str] = []
        name = champion.replaced_version
        while name is not None and name != champion.version and name not in unsound:
            row = self._row(model_type, name)
            if row is None:
                break
            try:
                artifact = artifact_of(row)
                self.load_model(artifact)
                return artifact
            except (ArtifactMissing, ArtifactCorrupt) as error:
                log.warning("rollback_skips_version", version=name, reason=str(error))
                unsound.append(name)
                name = row.replaced_version
        skipped = f"; not loadable: {', '.join(unsound)}" if unsound else ""
        raise VersionNotFound(
            f"{model_type} {champion.version} of {self.series} replaced no version that could come back"
            f"{skipped}"
        )
