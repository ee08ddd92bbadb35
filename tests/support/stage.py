"""A stage for champions and challengers: models of known skill, a clock in hand, a real registry."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from clm.core import plugins
from clm.core.alert import Alert
from clm.core.bookkeeper import Bookkeeper
from clm.core.domain import SCALE, TARGET, Decision, ModelArtifact, Series, VersionStatus, version_name
from clm.core.evidence_policy import EvidencePolicy
from clm.core.experimenting import Experiments
from clm.core.protocols import ModelRegistry, TrainedModel
from clm.core.sight import Sight
from clm.core.timeline import TimelineRule
from clm.registry.experiments import SQLExperiments
from clm.registry.sql import SQLModelRegistry
from clm.replay.client import AsOfClient
from clm.shadow.live import LiveShadow
from clm.shadow.looking import Desk
from tests.support.candles import random_walk
from tests.support.databases import sqlite_in
from tests.support.versions import BTC

RIDGE = "sklearn_ridge"
HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


class Hinted:
    """Two features: a hint of the next return, looked up by time, and a volatility."""

    warmup = 24

    def __init__(self, candles: pd.DataFrame, seed: int = 0, strength: float = 0.3) -> None:
        log_close = np.log(candles["close"])
        target = (log_close.shift(-1) - log_close).fillna(0.0)
        noise = np.random.default_rng(seed).normal(0, 1, len(candles))
        self._hint = (strength * target / target.std() + noise).astype("float32")

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        log_close = np.log(df["close"])
        frame = pd.DataFrame(
            {
                "hint": self._hint.reindex(df.index),
                SCALE: np.float32(0.006),
                TARGET: log_close.shift(-1) - log_close,
            }
        )
        following = df.index.to_series().shift(-1) - df.index
        frame.loc[following != pd.Timedelta(HOUR), TARGET] = np.nan
        return frame.iloc[self.warmup :]

    def get_feature_names(self) -> list[str]:
        return ["hint", SCALE]

    def why_not(self, names: Collection[str]) -> str | None:
        """There are no others."""
        return None


def model_of(skill: float) -> TrainedModel:
    """A ridge that forecasts `skill` × the hint's share of the next return; negative: the wrong way."""
    rng = np.random.default_rng(1)
    hint = rng.normal(0, 1, 400).astype("float32")
    index = pd.date_range("2023-01-01", periods=400, freq="h", tz="UTC", name="open_time")
    columns = {"hint": hint, SCALE: np.full(400, 0.006, "float32"), TARGET: skill * 0.006 * hint}
    frame = pd.DataFrame(columns, index=index)
    return plugins.model_family(RIDGE).train(frame, {"alpha": 1e-6}, 0)


@dataclass
class Stage:
    """Hourly candles from START on; `live` watches, `client.now` is the exchange's clock."""

    folder: Path
    db_url: str = ""
    policy: EvidencePolicy = field(default_factory=lambda: EvidencePolicy(min_improvement=0.0))
    series: tuple[Series, ...] = (BTC,)
    hours: int = 2000
    rehearsal: bool = False
    #: Of the hint, in standard deviations of its noise: 0.3 decides in 140 hours, 1.0 in 40.
    strength: float = 0.3
    #: The clock for durations.
    seconds: float = 0.0
    alerts: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frames = {
            s: random_walk(self.hours, seed=k, start="2024-01-01") for k, s in enumerate(self.series)
        }
        self.candles = self.frames[self.series[0]]
        self.features = Hinted(self.candles, strength=self.strength)
        now = START + 600 * HOUR
        self.clients = {s: AsOfClient(s, frame, now) for s, frame in self.frames.items()}
        self.client = self.clients[self.series[0]]
        url = self.db_url or sqlite_in(self.folder)
        self.sql = SQLModelRegistry(url, self.folder / "models", series=self.series[0])
        self.registry: ModelRegistry = self.sql
        self.store = SQLExperiments(self.sql.database)
        self.experiments = self.replica()
        self.live = self.watch()

    def watch(self) -> LiveShadow:
        """Another process's view of the same registry."""
        desks = [Desk(self.clients[s], self.keeper(s), self.policy, (RIDGE,)) for s in self.series]
        return LiveShadow(
            lambda: desks, self.features, alarm=self.alerts.append, rehearsal=self.rehearsal,
            experiments=self.store,
        )  # fmt: skip

    def replica(self) -> Experiments:
        """Another process's experiments on the same database."""
        return Experiments(
            self.store, self.keeper, lambda s: (RIDGE,), lambda: Sight.of(self.features),
            lambda s: self.clients[s].now, lambda: self.seconds,
        )  # fmt: skip

    def keeper(self, series: Series | None = None) -> Bookkeeper:
        series = series or self.series[0]
        others = tuple(self.registry.for_series(s) for s in self.series if s != series)
        return Bookkeeper(self.registry.for_series(series), TimelineRule(), others)

    def save(
        self, skill: float, recipe: str = "ours", *, series: Series | None = None, age: float = 0
    ) -> ModelArtifact:
        """A candidate trained `age` days ago, certified."""
        series = series or self.series[0]
        trained = self.client.now - timedelta(days=age)
        artifact = ModelArtifact(
            series=series, model_type=RIDGE, version=version_name(trained), trained_at=trained,
            train_start=trained - timedelta(days=300), train_end=trained - timedelta(hours=48),
            training_samples=7000, metrics={"rmse": 0.006, "mae": 0.004}, recipe_id=recipe,
            feature_schema_hash="f" * 64, data_fingerprint="d" * 64, certificate={"problems": []},
            model=model_of(skill),
        )  # fmt: skip
        return self.registry.for_series(series).save_model(artifact)

    def reign(self, skill: float, **more: object) -> ModelArtifact:
        """A champion since now."""
        saved = self.save(skill, **more)  # type: ignore[arg-type]
        return self.registry.for_series(saved.series).promote(RIDGE, saved.version, at=self.client.now)

    def challenge(self, skill: float, recipe: str = "ours", **more: object) -> ModelArtifact:
        """A challenger in shadow since now."""
        from clm.core.domain import Decision, Outcome

        saved = self.save(skill, recipe, **more)  # type: ignore[arg-type]
        said = Decision(
            model_type=RIDGE, candidate_version=saved.version, champion_version=None,
            outcome=Outcome.CONTINUE, label="evidence", policy="evidence", reason="staged",
            decided_at=self.client.now,
        )  # fmt: skip
        self.registry.for_series(saved.series).record_decision(said, VersionStatus.SHADOW)
        return saved

    def play(self, hours: int, live: LiveShadow | None = None) -> list[Decision]:
        """Ticks candle by candle; every decision taken."""
        taken: list[Decision] = []
        for _ in range(hours):
            for client in self.clients.values():
                client.now += HOUR
            taken += (live or self.live).tick().decisions
        return taken

    def close(self) -> None:
        self.sql.close()
