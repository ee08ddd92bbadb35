"""Minimal third-party parts, as anyone might plug in: candles in memory, two features, a dict of versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

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
from clm.core.errors import ChampionChanged, InsufficientData, InvalidCandles, VersionNotFound
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

    def for_series(self, series: Series) -> DictRegistry:
        other = DictRegistry(series, self._store)
        other._replaced, other._decisions = self._replaced, self._decisions
        return other

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
        return self._put(replace(new, status=VersionStatus.ACTIVE, promoted_at=now, retired_at=None))

    def retire(self, model_type: str, version: str, *, reason: str = "") -> ModelArtifact:
        found = self._get(model_type, version)
        if found.status is VersionStatus.RETIRED:
            return found
        now = datetime.now(UTC)
        self._decide(_by_hand(model_type, version, version, "retire", reason, now))
        return self._put(replace(found, status=VersionStatus.RETIRED, retired_at=now))

    def rollback(self, model_type: str, *, reason: str = "") -> ModelArtifact:
        champion = self.get_active(model_type)
        before = self._replaced.get((self.series, str(model_type), champion.version)) if champion else None
        if champion is None or before is None:
            raise VersionNotFound(f"{model_type} of {self.series} has nothing to roll back to")
        now = datetime.now(UTC)
        self._replaced[self.series, str(model_type), champion.version] = None
        self._put(replace(champion, status=VersionStatus.RETIRED, retired_at=now))
        self._decide(_by_hand(model_type, before, champion.version, "rollback", reason, now))
        back = replace(
            self._get(model_type, before), status=VersionStatus.ACTIVE, promoted_at=now, retired_at=None
        )
        return self._put(back)

    def get_model_history(self, model_type: str, limit: int = 10) -> list[ModelArtifact]:
        ordered = enumerate(self._of(model_type))
        return [a for _, a in sorted(ordered, key=lambda p: (p[1].trained_at, p[0]), reverse=True)][:limit]

    def record_decision(self, decision: Decision) -> None:
        self._decide(decision)

    def get_decisions(self, model_type: str | None = None, limit: int = 20) -> Sequence[Decision]:
        mine = [d for s, d in self._decisions if s == self.series and model_type in (None, d.model_type)]
        return mine[::-1][:limit]

    def _decide(self, decision: Decision) -> None:
        self._decisions.append((self.series, decision))


def _by_hand(
    model_type: str, version: str, champion: str | None, label: str, reason: str, at: datetime
) -> Decision:
    return Decision(
        model_type=str(model_type), candidate_version=version, champion_version=champion,
        outcome=Outcome.PROMOTE, label=label, policy="manual", reason=reason, decided_by="user",
        decided_at=at,
    )  # fmt: skip
