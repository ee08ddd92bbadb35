"""A version that answers, and what is remembered about it from candle to candle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from clm.core.domain import FeatureRow, ModelArtifact
from clm.core.intervals import IntervalTracker
from clm.core.profile import Profile
from clm.core.protocols import ModelRegistry
from clm.core.skill import Skill

#: What lies further back says little about a version today, and may be a lot.
MEMORY = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Loaded:
    """tracker: learnt from the version's scored forecasts; skill: of the same. The model is on the shelf.

    holdout_r2: against forecasting zero, on the hours its recipe was judged on; None where it has none.
    """

    artifact: ModelArtifact
    profile: Profile | None
    tracker: IntervalTracker
    skill: Skill
    holdout_r2: float | None = None

    @classmethod
    def of(cls, registry: ModelRegistry, artifact: ModelArtifact) -> Loaded:
        """With what the book holds about it, of the last `MEMORY`."""
        profile = Profile.from_json(artifact.profile) if artifact.profile else None
        # The rest is told by the registry; kept here, it would be most of what a series weighs.
        light = replace(
            artifact, profile=None, origin=None, certificate=None, known_answer=None, metrics={}, params={},
            library_versions={},
        )  # fmt: skip
        blank = cls(light, profile, IntervalTracker(), Skill(0), artifact.metrics.get("r2"))
        return blank.learnt(registry)

    def unlikeness(self, names: Sequence[str], row: FeatureRow) -> tuple[float | None, float | None]:
        """How unlike its training candles a row of features `names` is, and beyond what it counts as unlike.

        Nones where the version has no profile, or one of other features.
        """
        profile = self.profile
        if profile is None or not set(profile.names) <= set(names):
            return None, None
        values = row if list(names) == list(profile.names) else row[[names.index(n) for n in profile.names]]
        return profile.score(values), profile.limit

    def learnt(self, registry: ModelRegistry) -> Loaded:
        """With what was scored since."""
        book, step = registry.book, registry.series.step
        name = (self.artifact.model_type, self.artifact.version)
        newest = book.newest_forecast(*name)
        if newest is None:
            return self
        since = newest - MEMORY if self.tracker.last is None else self.tracker.last - step
        tracker = self.tracker.through(book.forecasts(*name, since=since), step)
        if tracker is self.tracker:
            return self
        return replace(self, tracker=tracker, skill=Skill.of(book.forecasts(*name, since=newest - MEMORY)))
