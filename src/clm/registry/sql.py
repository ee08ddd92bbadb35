"""SQLModelRegistry: versions in SQL, files beside it, every change one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError

from clm.core import plugins
from clm.core.domain import Decision, ModelArtifact, Outcome, Series, VersionStatus, version_name
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    ChampionChanged,
    VersionExists,
    VersionNotFound,
)
from clm.core.protocols import TrainedModel
from clm.registry.artifacts import ArtifactStore
from clm.registry.engine import open_engine, reading, writing
from clm.registry.migrate import ensure_schema
from clm.registry.rows import artifact_of, decision_of, decision_values, of_series, version_values
from clm.registry.tables import decisions, versions
from clm.registry.verify import Finding, verify_all
from clm.settings import Settings

log = structlog.get_logger()
_SAVE_ATTEMPTS = 10


class SQLModelRegistry:
    """The registry of one series (see `for_series`) in the database at `db_url`, files under `model_dir`.

    Arguments not given come from the settings. Building it connects nothing; the first use does, and brings
    an empty or older database up to date.
    """

    def __init__(
        self,
        db_url: str | None = None,
        model_dir: Path | str | None = None,
        *,
        series: Series | None = None,
    ) -> None:
        if db_url is None or model_dir is None or series is None:
            settings = Settings.load()
            db_url = settings.db_url if db_url is None else db_url
            model_dir = settings.model_dir if model_dir is None else model_dir
            series = series or Series(settings.symbols[0], settings.interval)
        self.series = series
        self._shared = _Shared(open_engine(db_url), ArtifactStore(Path(model_dir)))

    @property
    def engine(self) -> sa.Engine:
        """The engine, its schema up to date."""
        return self._shared.ready()

    def open(self) -> None:
        """Connect now rather than at first use. Raises DatabaseUnavailable, DatabaseTooNew, StorageFailed."""
        self._shared.ready()

    def for_series(self, series: Series) -> SQLModelRegistry:
        other = object.__new__(SQLModelRegistry)
        other.series, other._shared = series, self._shared
        return other

    def get_active(self, model_type: str) -> ModelArtifact | None:
        with reading(self.engine) as connection:
            row = _active(connection, self.series, model_type)
        return None if row is None else artifact_of(row)

    def load_model(self, artifact: ModelArtifact) -> TrainedModel:
        raw = self._shared.files.read(artifact)
        return plugins.model_family(artifact.model_type).from_bytes(raw)

    def save_model(self, artifact: ModelArtifact) -> ModelArtifact:
        if artifact.model is None:
            raise BadInput("artifact.model", None, "the trained model to store")
        if artifact.series != self.series:
            raise BadInput("artifact.series", str(artifact.series), f"{self.series}, this registry's series")
        raw, suffix, engine = artifact.model.to_bytes(), artifact.model.suffix, self.engine
        for _ in range(_SAVE_ATTEMPTS):
            named = replace(artifact, version=self._free_version(artifact), model=None)
            stored = self._shared.files.write(named, suffix, raw)
            if stored is None:
                # A file without a row, left by a crash: its name is taken all the same.
                artifact = replace(artifact, version=f"{named.version}_1")
                continue
            try:
                with writing(engine) as connection:
                    connection.execute(
                        versions.insert().values(version_values(named, stored.path, stored.sha256))
                    )
            except IntegrityError:
                self._shared.files.remove(stored)
                continue
            except BaseException:
                self._shared.files.remove(stored)
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
            with writing(self.engine) as connection:
                champion = _active(connection, self.series, model_type)
                found = champion.version if champion is not None else None
                if check_expected and found != expected_active:
                    raise ChampionChanged(
                        f"the champion of {model_type} {self.series} is {found or 'none'}, "
                        f"no longer {expected_active or 'none'}; {version} was not promoted"
                    )
                if found != version:
                    said = decision or _by_hand(model_type, version, found, "manual", "promoted by hand")
                    self._activate(connection, model_type, version, champion, said, at)
        except IntegrityError as exc:
            raise ChampionChanged(
                f"another promotion of {model_type} {self.series} came first; {version} was not promoted"
            ) from exc
        return self._get(model_type, version)

    def retire(self, model_type: str, version: str, *, reason: str = "") -> ModelArtifact:
        self._get(model_type, version)
        now = datetime.now(UTC)
        with writing(self.engine) as connection:
            changed = connection.execute(
                versions.update()
                .where(of_series(self.series, model_type), versions.c.version == version)
                .where(versions.c.status != str(VersionStatus.RETIRED))
                .values(status=str(VersionStatus.RETIRED), retired_at=now)
            )
            if changed.rowcount:
                said = _by_hand(model_type, version, version, "retire", reason or "retired by hand")
                self._append(connection, replace(said, outcome=Outcome.REJECT), now)
        return self._get(model_type, version)

    def rollback(self, model_type: str, *, reason: str = "") -> ModelArtifact:
        with reading(self.engine) as connection:
            champion = _active(connection, self.series, model_type)
        if champion is None:
            raise VersionNotFound(f"{model_type} of {self.series} has no champion to roll back")
        previous = self._previous_sound(model_type, champion)
        why = f"rolled back from {champion.version}" + (f": {reason}" if reason else "")
        said = _by_hand(model_type, previous.version, champion.version, "rollback", why)
        with writing(self.engine) as connection:
            current = _active(connection, self.series, model_type)
            if current is None or current.version != champion.version:
                raise ChampionChanged(
                    f"the champion of {model_type} {self.series} changed meanwhile; nothing was rolled back"
                )
            self._activate(connection, model_type, previous.version, current, said, None, back=True)
        return self._get(model_type, previous.version)

    def get_model_history(self, model_type: str, limit: int = 10) -> list[ModelArtifact]:
        query = sa.select(versions).where(of_series(self.series, model_type))
        query = query.order_by(versions.c.trained_at.desc(), versions.c.id.desc()).limit(limit)
        with reading(self.engine) as connection:
            return [artifact_of(row) for row in connection.execute(query)]

    def record_decision(self, decision: Decision) -> None:
        with writing(self.engine) as connection:
            self._append(connection, decision, datetime.now(UTC))

    def get_decisions(self, model_type: str | None = None, limit: int = 20) -> Sequence[Decision]:
        query = sa.select(decisions).where(
            decisions.c.symbol == self.series.symbol, decisions.c.interval == self.series.interval
        )
        if model_type is not None:
            query = query.where(decisions.c.model_type == str(model_type))
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(decisions.c.id.desc()).limit(limit))
            return [decision_of(row) for row in rows]

    def verify(self) -> list[Finding]:
        """What is wrong with any version of any series; empty when all is well. Reads every file."""
        with reading(self.engine) as connection:
            rows = [(row, artifact_of(row)) for row in connection.execute(sa.select(versions))]
        return verify_all(rows, self._shared.files, self.load_model)

    def close(self) -> None:
        """Gives the connections back; for all registries made from this one by `for_series`."""
        self._shared.engine.dispose()

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
        with reading(self.engine) as connection:
            return connection.execute(query).one_or_none()

    def _free_version(self, artifact: ModelArtifact) -> str:
        query = sa.select(versions.c.version).where(of_series(self.series, artifact.model_type))
        with reading(self.engine) as connection:
            taken = frozenset(connection.execute(query).scalars())
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

    def _activate(
        self,
        connection: sa.Connection,
        model_type: str,
        version: str,
        champion: sa.Row[Any] | None,
        decision: Decision,
        at: datetime | None,
        *,
        back: bool = False,
    ) -> None:
        """Retire the champion, activate `version`, write the decision; all inside the caller's transaction.

        back: a rollback. The retired champion then forgets whom it replaced, so that a chain of rollbacks
        walks back and never to and fro.
        """
        now = at or datetime.now(UTC)
        if champion is not None:
            retired: dict[str, Any] = {"status": str(VersionStatus.RETIRED), "retired_at": now}
            if back:
                retired["replaced_version"] = None
            done = connection.execute(
                versions.update()
                .where(versions.c.id == champion.id, versions.c.status == str(VersionStatus.ACTIVE))
                .values(retired)
            )
            if done.rowcount != 1:
                raise ChampionChanged(
                    f"another promotion of {model_type} {self.series} came first; {version} was not promoted"
                )
        activated: dict[str, Any] = {
            "status": str(VersionStatus.ACTIVE),
            "promoted_at": now,
            "retired_at": None,
        }
        if not back:
            activated["replaced_version"] = champion.version if champion is not None else None
        connection.execute(
            versions.update()
            .where(of_series(self.series, model_type), versions.c.version == version)
            .values(activated)
        )
        self._append(connection, decision, now)

    def _append(self, connection: sa.Connection, decision: Decision, now: datetime) -> None:
        connection.execute(decisions.insert().values(decision_values(decision, self.series, now)))


class _Shared:
    """What registries of different series have in common."""

    def __init__(self, engine: sa.Engine, files: ArtifactStore) -> None:
        self.engine = engine
        self.files = files
        self._checked = False

    def ready(self) -> sa.Engine:
        if not self._checked:
            ensure_schema(self.engine)
            self._checked = True
        return self.engine


def _active(connection: sa.Connection, series: Series, model_type: str) -> sa.Row[Any] | None:
    query = sa.select(versions).where(
        of_series(series, model_type), versions.c.status == str(VersionStatus.ACTIVE)
    )
    return connection.execute(query).one_or_none()


def _by_hand(model_type: str, version: str, champion: str | None, label: str, reason: str) -> Decision:
    return Decision(
        model_type=str(model_type),
        candidate_version=version,
        champion_version=champion,
        outcome=Outcome.PROMOTE,
        label=label,
        policy="manual",
        reason=reason,
        decided_by="user",
    )
