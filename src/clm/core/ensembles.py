"""Keeps an ensemble beside the champions of a series: mixes what they forecast, learns from what happened.

A row per candle holds what the members forecast and what was known before its outcome; the next row follows
from it and the outcome alone. So whoever makes it comes to the same, and a candle is mixed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from clm.core.book import Forecast, Source
from clm.core.ensemble import Ensemble, Weighting
from clm.core.protocols import ModelRegistry
from clm.core.skill import Skill

#: Its forecasts are kept under this model type, a version for each way to weigh.
ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """One candle: what each member (model type) forecast, by which version, and the ensemble before it.

    variance: σ̂² known at forecast time.
    """

    open_time: datetime
    forecasts: Mapping[str, float]
    versions: Mapping[str, str]
    variance: float
    ensemble: Ensemble

    def to_json(self) -> dict[str, Any]:
        """Without the time, which is the row's."""
        return {
            "forecasts": dict(self.forecasts), "versions": dict(self.versions), "variance": self.variance,
            "ensemble": self.ensemble.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, open_time: datetime, data: Mapping[str, Any]) -> Mixture:
        """The inverse of `to_json`."""
        return cls(
            open_time=open_time, forecasts=data["forecasts"], versions=data["versions"],
            variance=data["variance"], ensemble=Ensemble.from_json(data["ensemble"]),
        )  # fmt: skip

    def forecast(self, weighting: Weighting = Weighting.ONLINE) -> float:
        """The mixture's log return."""
        return self.ensemble.forecast(self.forecasts, self.variance**0.5, weighting)

    def weights(self, weighting: Weighting = Weighting.ONLINE) -> dict[str, float]:
        """Of the members that forecast this candle."""
        return self.ensemble.weights(sorted(self.forecasts), weighting)


class MixtureStore(Protocol):
    """Mixtures of one series; nothing in it is ever overwritten."""

    def append(self, mixture: Mixture) -> bool:
        """Whether it was new; the first one of a candle stands."""
        ...

    def newest(self) -> Mixture | None:
        """The last one; None before the first."""
        ...

    def recent(self, limit: int) -> list[Mixture]:
        """Newest first."""
        ...


@dataclass(frozen=True, slots=True)
class EnsembleKeeper:
    """Of one series. models: the types whose champions are members."""

    registry: ModelRegistry
    store: MixtureStore
    models: Sequence[str]

    def advance(self) -> int:
        """Mixes every candle the champions have forecast since the last one, oldest first; how many."""
        newest = self.store.newest()
        made, outcomes = self._forecasts(newest)
        done = 0
        for open_time in sorted(made):
            ensemble = self._after(newest, outcomes) if newest is not None else Ensemble()
            newest = _mixture(open_time, made[open_time], ensemble)
            if self.store.append(newest):
                done += 1
                self.registry.book.record_forecasts(list(_as_forecasts(newest, made[open_time].values())))
        return done

    def members(self) -> dict[str, str]:
        """Model type → version of its champion."""
        champions = {model: self.registry.get_active(model) for model in self.models}
        return {model: champion.version for model, champion in champions.items() if champion is not None}

    def _forecasts(
        self, newest: Mixture | None
    ) -> tuple[dict[datetime, dict[str, Forecast]], dict[datetime, float]]:
        """Candle → model type → its present champion's live forecast, after the newest mixture; outcomes."""
        made: dict[datetime, dict[str, Forecast]] = {}
        outcomes: dict[datetime, float] = {}
        since = newest.open_time if newest is not None else None
        for model, version in self.members().items():
            for forecast in self.registry.book.forecasts(model, version, since=since):
                if forecast.actual is not None:
                    outcomes[forecast.open_time] = forecast.actual
                if _live(forecast) and forecast.open_time != since:
                    made.setdefault(forecast.open_time, {})[model] = forecast
        return made, outcomes

    def _after(self, mixture: Mixture, outcomes: Mapping[datetime, float]) -> Ensemble:
        """The ensemble once the mixture's candle is over; as it was where its outcome never came."""
        actual = outcomes.get(mixture.open_time)
        if actual is None:
            actual = self._outcome(mixture)
        if actual is None:
            return mixture.ensemble
        sigma = mixture.variance**0.5
        return mixture.ensemble.after(mixture.forecasts, sigma, actual, mixture.open_time)

    def _outcome(self, mixture: Mixture) -> float | None:
        """As scored for those that were members then."""
        for model, version in mixture.versions.items():
            scored = self.registry.book.forecasts(model, version, since=mixture.open_time)
            if scored and scored[0].open_time == mixture.open_time and scored[0].actual is not None:
                return scored[0].actual
        return None

    def standing(self) -> dict[str, Any]:
        """For people: weights, regret and bound, and the skill of each way to weigh beside the members'."""
        newest, book = self.store.newest(), self.registry.book
        mixed = {
            str(weighting): Skill.of(book.forecasts(ENSEMBLE, str(weighting))) for weighting in Weighting
        }
        since = self._since()
        members = {
            model: Skill.of(f for f in book.forecasts(model, version, since=since) if _live(f))
            for model, version in self.members().items()
        }
        ensemble = newest.ensemble if newest else Ensemble()
        return {
            "members": self.members(), "candles": ensemble.candles,
            "last": newest.open_time if newest else None,
            "weights": {str(w): newest.weights(w) for w in Weighting} if newest else {},
            "loss": ensemble.loss, "losses": dict(ensemble.losses), "regret": ensemble.regret,
            "regret_bound": ensemble.bound, "skill": mixed, "skill_of_members": members,
        }  # fmt: skip

    def _since(self) -> datetime | None:
        """When mixing began: members are compared over the same candles."""
        own = self.registry.book.forecasts(ENSEMBLE, str(Weighting.ONLINE))
        return own[0].open_time if own else None


def _live(forecast: Forecast) -> bool:
    """Made candle by candle, in time or late; not after the fact for an evaluation."""
    return forecast.source in (Source.LIVE, Source.LATE)


def _mixture(open_time: datetime, made: Mapping[str, Forecast], ensemble: Ensemble) -> Mixture:
    members = sorted(made.items())
    return Mixture(
        open_time=open_time, forecasts={model: f.forecast for model, f in members},
        versions={model: f.version for model, f in members}, variance=members[0][1].variance,
        ensemble=ensemble,
    )  # fmt: skip


def _as_forecasts(mixture: Mixture, made: Iterable[Forecast]) -> Iterable[Forecast]:
    """Late where a member's was; made when the last of them was."""
    members = list(made)
    late = any(forecast.source is Source.LATE for forecast in members)
    for weighting in Weighting:
        yield Forecast(
            model_type=ENSEMBLE, version=str(weighting), open_time=mixture.open_time,
            source=Source.LATE if late else Source.LIVE, forecast=mixture.forecast(weighting),
            variance=mixture.variance, made_at=max(forecast.made_at for forecast in members),
        )  # fmt: skip
