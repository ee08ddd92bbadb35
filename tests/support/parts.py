"""Minimal third-party parts, as anyone might plug in: candles in memory, two features, a dict of versions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import numpy as np
import pandas as pd

from clm.core.book import Appended, EvidenceRow, Forecast, Kind, LedgerKey, Revision, Source, Trial
from clm.core.domain import (
    SCALE,
    TARGET,
    Decision,
    ModelArtifact,
    Outcome,
    Series,
    VersionStatus,
    utc,
    version_name,
)
from clm.core.errors import ChampionChanged, EvidenceMoved, InsufficientData, InvalidCandles, VersionNotFound
from clm.core.evidence import Evidence
from clm.core.paired import Paired
from clm.core.pooled_bets import PooledBets, Stood
from clm.core.protocols import TrainedModel


class FrameDataClient:
    """Candles of one series out of memory; `now` is whatever the test says."""

    def __init__(self, candles: pd.DataFrame, series: Series | None = None) -> None:
        self.series = series or Series("BTCUSDT", "1h")
        self._candles = candles
        self.now = utc(candles.index[-1] + self.series.step)
        self.loads = 0

    def load_training_data(self, start: datetime, end: datetime) -> pd.DataFrame:
        self.loads += 1
        last = pd.Timestamp(min(end, self.now) - self.series.step)
        return self._candles.loc[pd.Timestamp(start) : last]

    def load_recent_data(self, days: float) -> pd.DataFrame:
        return self.load_training_data(self.now - timedelta(days=days), self.now)

    def load_validation_data(self, days: float) -> pd.DataFrame:
        return self.load_recent_data(days)

    def server_time(self) -> datetime:
        return self.now


class TwoFeatures:
    """The last day's return and a volatility; hourly candles."""

    warmup = 24

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        if not {"close", "open"} <= set(df.columns):
            raise InvalidCandles("candles lack the columns close, open")
        close = np.log(df["close"])
        volatility = close.diff().rolling(24, min_periods=24).std()
        frame = pd.DataFrame(
            {
                "return_24": close.diff(24).astype("float32"),
                SCALE: volatility.clip(lower=1e-6).astype("float32"),
                TARGET: close.shift(-1) - close,
            }
        )
        whole = frame[SCALE].notna() & (df.index.to_series().diff(24) == 24 * pd.Timedelta(hours=1))
        frame.loc[df.index.to_series().shift(-1) - df.index != pd.Timedelta(hours=1), TARGET] = np.nan
        if not whole.any():
            raise InsufficientData("more than 24 candles are needed")
        return frame.loc[whole]

    def get_feature_names(self) -> list[str]:
        return ["return_24", SCALE]


class DictRegistry:
    """Versions and models in memory: forgets everything, but keeps every promise until then."""

    def __init__(
        self, series: Series, store: dict[tuple[Series, str, str], ModelArtifact] | None = None
    ) -> None:
        self.series = series
        self._store = {} if store is None else store
        self._replaced: dict[tuple[Series, str, str], str | None] = {}
        self._decisions: list[tuple[Series, Decision]] = []
        self._books: dict[Series, DictBook] = {}
        self._pooled: Pooled = []

    def for_series(self, series: Series) -> DictRegistry:
        other = DictRegistry(series, self._store)
        other._replaced, other._decisions, other._books = self._replaced, self._decisions, self._books
        other._pooled = self._pooled
        return other

    @property
    def book(self) -> DictBook:
        return self._books.setdefault(self.series, DictBook(self.series, self._pooled))

    def _of(self, model_type: str) -> list[ModelArtifact]:
        return [a for (s, m, _), a in self._store.items() if (s, m) == (self.series, str(model_type))]

    def _get(self, model_type: str, version: str) -> ModelArtifact:
        found = self._store.get((self.series, str(model_type), version))
        if found is None:
            raise VersionNotFound(f"{model_type} of {self.series} has no version {version!r}")
        return found

    def _put(self, artifact: ModelArtifact) -> ModelArtifact:
        self._store[self.series, str(artifact.model_type), artifact.version] = artifact
        return artifact

    def get_active(self, model_type: str) -> ModelArtifact | None:
        return next((a for a in self._of(model_type) if a.status is VersionStatus.ACTIVE), None)

    def load_model(self, artifact: ModelArtifact) -> TrainedModel:
        model = self._get(artifact.model_type, artifact.version).model
        assert model is not None
        return model

    def save_model(self, artifact: ModelArtifact) -> ModelArtifact:
        taken = frozenset(a.version for a in self._of(artifact.model_type))
        name = artifact.version if artifact.version not in taken else version_name(artifact.trained_at, taken)
        return self._put(replace(artifact, version=name, status=VersionStatus.CANDIDATE))

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
        new, champion = self._get(model_type, version), self.get_active(model_type)
        found = champion.version if champion else None
        if check_expected and found != expected_active:
            raise ChampionChanged(f"the champion is {found}; {version} was not promoted")
        if found == version:
            return new
        now = at or datetime.now(UTC)
        if champion is not None:
            self._put(replace(champion, status=VersionStatus.RETIRED, retired_at=now))
        self._replaced[self.series, str(model_type), version] = found
        self._decide(decision or _by_hand(model_type, version, found, "manual", "by hand", now))
        new = replace(new, replaced_version=found)
        return self._put(replace(new, status=VersionStatus.ACTIVE, promoted_at=now, retired_at=None))

    def quarantine(self, model_type: str, version: str, reason: str) -> ModelArtifact:
        found = self._get(model_type, version)
        if found.quarantined_at is not None:
            return found
        return self._put(replace(found, quarantined_at=datetime.now(UTC), quarantine_reason=reason))

    def retire(
        self,
        model_type: str,
        version: str,
        *,
        reason: str = "",
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        found = self._get(model_type, version)
        if found.status is VersionStatus.RETIRED:
            return found
        now = at or datetime.now(UTC)
        self._decide(decision or _by_hand(model_type, version, version, "retire", reason, now))
        return self._put(replace(found, status=VersionStatus.RETIRED, retired_at=now))

    def rollback(
        self,
        model_type: str,
        *,
        reason: str = "",
        expected_active: str | None = None,
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        champion = self.get_active(model_type)
        before = self._replaced.get((self.series, str(model_type), champion.version)) if champion else None
        if champion is None or before is None:
            raise VersionNotFound(f"{model_type} of {self.series} has nothing to roll back to")
        if expected_active not in (None, champion.version):
            raise ChampionChanged(f"the champion is {champion.version}; nothing was rolled back")
        now = at or datetime.now(UTC)
        self._replaced[self.series, str(model_type), champion.version] = None
        retired = replace(champion, status=VersionStatus.RETIRED, retired_at=now, replaced_version=None)
        self._put(retired)
        said = decision or _by_hand(model_type, before, champion.version, "rollback", reason, now)
        self._decide(replace(said, candidate_version=before))
        back = replace(
            self._get(model_type, before), status=VersionStatus.ACTIVE, promoted_at=now, retired_at=None
        )
        return self._put(back)

    def get_model_history(self, model_type: str, limit: int = 10) -> list[ModelArtifact]:
        ordered = enumerate(self._of(model_type))
        return [a for _, a in sorted(ordered, key=lambda p: (p[1].trained_at, p[0]), reverse=True)][:limit]

    def record_decision(self, decision: Decision, status: VersionStatus | None = None) -> bool:
        if status is None:
            if any(
                s == self.series and (d.candidate_version, d.label, d.decided_at)
                == (decision.candidate_version, decision.label, decision.decided_at)
                for s, d in self._decisions
            ):  # fmt: skip
                return False
        else:
            found = self._get(decision.model_type, decision.candidate_version)
            if found.status in (status, VersionStatus.ACTIVE, VersionStatus.RETIRED):
                return False
            retired = decision.decided_at if status is VersionStatus.RETIRED else None
            self._put(replace(found, status=status, retired_at=retired))
        self._decide(decision)
        return True

    def get_rise(self, model_type: str, version: str, at: datetime) -> Decision | None:
        wanted = (str(model_type), version, Outcome.PROMOTE, at)
        mine = (d for s, d in self._decisions[::-1] if s == self.series)
        return next(
            (d for d in mine if (d.model_type, d.candidate_version, d.outcome, d.decided_at) == wanted), None
        )

    def get_version(self, model_type: str, version: str) -> ModelArtifact:
        return self._get(model_type, version)

    def challengers(self, model_type: str) -> list[ModelArtifact]:
        return [
            a for a in self.get_model_history(model_type, 10**6)[::-1] if a.status is VersionStatus.SHADOW
        ]

    def get_decisions(
        self,
        model_type: str | None = None,
        limit: int = 20,
        *,
        label: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[Decision]:
        mine = [
            d for s, d in self._decisions
            if s == self.series and model_type in (None, d.model_type) and label in (None, d.label)
            and (since is None or (d.decided_at is not None and d.decided_at >= since))
        ]  # fmt: skip
        return mine[::-1][:limit]

    def _decide(self, decision: Decision) -> None:
        at = decision.decided_at or datetime.now(UTC)
        said = replace(decision, decided_at=at, decision_id=len(self._decisions) + 1)
        self._decisions.append((self.series, said))


#: Bets that were pooled, of all series, in the order in which they were placed.
Pooled: TypeAlias = "list[tuple[DictBook, EvidenceRow]]"


class DictBook:
    """Forecasts, bets and trials in memory."""

    def __init__(self, series: Series, pooled: Pooled | None = None) -> None:
        self._pooled: Pooled = [] if pooled is None else pooled
        self._forecasts: dict[tuple[str, str, datetime], Forecast] = {}
        self._evidence: dict[LedgerKey, list[EvidenceRow]] = {}
        self._trials: list[Trial] = []

    def record_forecasts(self, new: Sequence[Forecast]) -> int:
        before = len(self._forecasts)
        for f in new:
            self._forecasts.setdefault((str(f.model_type), f.version, f.open_time), f)
        return len(self._forecasts) - before

    def forecasts(
        self,
        model_type: str,
        version: str,
        *,
        since: datetime | None = None,
        sources: Collection[Source] | None = None,
    ) -> list[Forecast]:
        found = [
            f for (m, v, t), f in self._forecasts.items()
            if (m, v) == (str(model_type), version) and (since is None or t >= since)
            and (sources is None or f.source in sources)
        ]  # fmt: skip
        return sorted(found, key=lambda f: f.open_time)

    def paired(self, model_type: str, champion: str, challenger: str, since: datetime) -> Paired:
        own = self.forecasts(model_type, champion, since=since)
        return Paired.of(own, self.forecasts(model_type, challenger))

    def newest_forecast(self, model_type: str, version: str) -> datetime | None:
        return max((f.open_time for f in self.forecasts(model_type, version)), default=None)

    def count_forecasts(self, model_type: str, version: str, after: datetime, until: datetime) -> int:
        return sum(after < f.open_time <= until for f in self.forecasts(model_type, version))

    def forecast_times(self, model_type: str, version: str, since: datetime) -> list[datetime]:
        return [f.open_time for f in self.forecasts(model_type, version, since=since)]

    def score(self, model_type: str, outcomes: Mapping[datetime, float], at: datetime) -> tuple[int, int]:
        scored = revised = 0
        recent = max(outcomes, default=at) - timedelta(days=7)
        for key, f in self._forecasts.items():
            outcome = outcomes.get(f.open_time)
            if f.model_type != str(model_type) or outcome is None:
                continue
            if f.actual is None:
                self._forecasts[key] = replace(f, actual=outcome, scored_at=at)
                scored += 1
            elif (
                f.open_time >= recent
                and abs(outcome - (f.actual if f.revised is None else f.revised)) > 1e-12
            ):
                self._forecasts[key] = replace(f, revised=outcome)
                revised += 1
        return scored, revised

    def append_evidence(self, key: LedgerKey, rows: Sequence[EvidenceRow], after: datetime | None) -> None:
        self.append_together((Appended(key, rows, after),))

    def append_together(self, ledgers: Sequence[Appended]) -> None:
        for ledger in ledgers:
            newest = self.newest_evidence(ledger.key)
            if (newest.last if newest else None) != ledger.after:
                raise EvidenceMoved("somebody else bet first")
        for ledger in ledgers:
            self._evidence.setdefault(ledger.key, []).extend(ledger.rows)
            self._pooled += [(self, row) for row in ledger.rows if row.pool]

    def append_joining(
        self,
        key: LedgerKey,
        rows: Callable[[Mapping[datetime, Stood]], Sequence[EvidenceRow]],
        since: datetime,
        after: datetime | None,
    ) -> None:
        newest: dict[datetime, PooledBets] = {}
        own: dict[datetime, EvidenceRow] = {}
        for book, row in self._pooled:
            alike = (row.key.model_type, row.key.kind, row.key.recipe_id)
            if row.pool and alike == (key.model_type, key.kind, key.recipe_id) and row.open_time >= since:
                newest[row.open_time] = row.pool
                if book is self:
                    own[row.open_time] = row
        stood = {}
        for time, pool in newest.items():
            mine = own.get(time)
            there = mine and mine.pool and mine.pool.total.first == pool.total.first
            stood[time] = Stood(pool, (mine.gain, mine.bound) if mine and there else None)
        self.append_evidence(key, rows(stood), after)

    def evidence(self, key: LedgerKey, *, until: datetime | None = None) -> list[EvidenceRow]:
        return [row for row in self._evidence.get(key, []) if until is None or row.open_time <= until]

    def newest_evidence(self, key: LedgerKey) -> Evidence | None:
        return next((row.state for row in reversed(self.evidence(key))), None)

    def closing_evidence(
        self, model_type: str, champion_version: str, recipe_id: str, before: datetime
    ) -> Evidence | None:
        wanted = (str(model_type), Kind.CHALLENGE, champion_version, recipe_id)
        found = [
            k for k in self._evidence
            if (k.model_type, k.kind, k.champion_version, k.recipe_id) == wanted and k.reign < before
        ]  # fmt: skip
        return self.newest_evidence(max(found, key=lambda k: k.reign)) if found else None

    def ledgers(self, model_type: str, champion_version: str, reign: datetime) -> list[LedgerKey]:
        wanted = (str(model_type), champion_version, reign)
        return [k for k in self._evidence if (k.model_type, k.champion_version, k.reign) == wanted]

    def record_trial(self, trial: Trial) -> None:
        self._trials.append(trial)

    def trials(self, model_type: str | None = None, limit: int = 20) -> list[Trial]:
        return [t for t in self._trials[::-1] if model_type in (None, t.model_type)][:limit]

    def revisions(self) -> int:
        return len({t for (_, _, t), f in self._forecasts.items() if f.revised is not None})

    def revised(self, since: datetime, limit: int) -> list[Revision]:
        found = {
            Revision(open_time=t, before=f.actual, after=f.revised)
            for (_, _, t), f in self._forecasts.items()
            if t >= since and f.actual is not None and f.revised is not None
        }
        newest_first = sorted(found, key=lambda r: (-r.open_time.timestamp(), r.before, r.after))
        return newest_first[:limit]


def _by_hand(
    model_type: str, version: str, champion: str | None, label: str, reason: str, at: datetime
) -> Decision:
    return Decision(
        model_type=str(model_type), candidate_version=version, champion_version=champion,
        outcome=Outcome.PROMOTE, label=label, policy="manual", reason=reason, decided_by="user",
        decided_at=at,
    )  # fmt: skip
