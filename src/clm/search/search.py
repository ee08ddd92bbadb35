"""The search of one series and model type: propose, train and score on folds, write down, judge.

It sees the training window and nothing after it: candles are asked for up to its end, so that holdout and
shadow stay as unseen for a winner as for any other candidate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import fmean
from typing import Any

import pandas as pd

from clm.core.book import Trial
from clm.core.domain import Progress, utc
from clm.core.errors import BadInput, ClmError, InsufficientData, TrainingFailed
from clm.core.protocols import (
    Clock,
    DataClient,
    FeatureEngineer,
    ModelEvaluator,
    ModelRegistry,
    ModelTrainer,
    ProgressListener,
    TrainedModel,
)
from clm.core.recipe import Recipe
from clm.core.space import Space, Value, space_of
from clm.core.timeline import MIN_ROWS, Timeline, TimelineRule
from clm.search.findings import Findings, Tried, difference, judge, listed
from clm.search.folds import FOLDS, chained
from clm.search.proposer import OptunaProposer, Proposer

#: A recipe behind the present one by so many standard errors after half of the folds gets no further one.
_HOPELESS = 2.0
_MOST_TRIALS, _LONGEST_SECONDS = 10_000, 7 * 86_400
_LEDGER = 1_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """trials: recipes besides the present one; seconds: none is begun, nor given a further fold, after."""

    trials: int = 30
    seconds: float = 600

    def __post_init__(self) -> None:
        if not 1 <= self.trials <= _MOST_TRIALS:
            raise BadInput("trials", self.trials, f"a whole number from 1 to {_MOST_TRIALS:,}")
        if not 0 < self.seconds <= _LONGEST_SECONDS:
            raise BadInput("seconds", self.seconds, f"above 0, at most {_LONGEST_SECONDS:,}")


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a fold."""

    train: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True, slots=True)
class _Job:
    """What all recipes of one search share. over: why it is to end now; None: it is not."""

    model_type: str
    space: Space
    parts: Sequence[_Part]
    over: Callable[[], str | None]


class RecipeSearch:
    """Of one series: `registry` is bound to it. It promotes nothing, and trains nothing that is kept."""

    def __init__(
        self,
        data_client: DataClient,
        feature_engineer: FeatureEngineer,
        trainer: ModelTrainer,
        evaluator: ModelEvaluator,
        registry: ModelRegistry,
        rule: TimelineRule,
        *,
        proposer: Callable[[Space, int], Proposer] = OptunaProposer,
        clock: Clock = time.monotonic,
    ) -> None:
        self.series = data_client.series
        self._data = data_client
        self._features = feature_engineer
        self._trainer = trainer
        self._evaluator = evaluator
        self._registry = registry
        self._rule = rule
        self._proposer = proposer
        self._clock = clock

    def run(
        self,
        model_type: str,
        budget: Budget = Budget(),  # frozen
        seed: int = 0,
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: ProgressListener = lambda progress: None,
    ) -> Findings:
        """Scores the present recipe, then proposals, as long as the budget lasts.

        stop: asked between folds; true: it ends there. Every recipe is in the trial ledger as soon as it is
        done with. Raises BadInput, NotInstalled, InsufficientData; TrainingFailed where the present recipe
        cannot be scored; and what candles or features raise.
        """
        space = space_of(model_type)
        proposer = self._proposer(space, seed)
        deadline = self._clock() + budget.seconds
        now = utc(self._data.server_time())
        timeline = self._rule.at(now, self.series.step)

        def over() -> str | None:
            if stop():
                return "it was interrupted"
            return "the time was up" if self._clock() >= deadline else None

        job = _Job(model_type, space, self._parts(timeline), over)
        tried: list[Tried] = []
        ended = "all recipes of the budget were tried"
        for number in range(budget.trials + 1):
            why = over()
            if why is not None:
                ended = why
                break
            progress(self._told(job, number, budget.trials + 1))
            params = {name: _tidy(value) for name, value in proposer.propose().items()} if number else {}
            one = self._try(job, params, tried)
            tried.append(one)
            self._record(job, one, now, {"seed": seed, "fit": timeline.fit})
            self._answer(job, proposer, one)
        counted = self._counted(job, tried, now)
        return Findings(
            series=self.series, model_type=model_type, seed=seed, fit=timeline.fit, folds=FOLDS,
            tried=tuple(tried), counted=counted, ended=ended, verdict=judge(tried, counted),
        )  # fmt: skip

    def _parts(self, timeline: Timeline) -> list[_Part]:
        """Nothing after the training window is asked for, nor could be seen in what is."""
        step, fit = self.series.step, timeline.fit
        candles = self._data.load_training_data(fit.start - (self._features.warmup + 1) * step, fit.end)
        if candles.empty:
            raise InsufficientData(f"{self.series}: the exchange has no candle before {fit.end:%Y-%m-%d}")
        features = self._features.transform(candles)
        parts = [
            _Part(fold.train.rows(features, step), fold.test.rows(features, step))
            for fold in chained(fit, timeline.purge, step)
        ]
        if len(parts[0].train) < MIN_ROWS:
            raise InsufficientData(
                f"{self.series}: {len(parts[0].train)} candles with features before the first fold of the "
                f"training window; at least {MIN_ROWS} are needed to search on"
            )
        return parts

    def _try(self, job: _Job, params: Mapping[str, Value], tried: Sequence[Tried]) -> Tried:
        """One recipe on the folds, until they are through or it is given up."""
        began, model_type = self._clock(), job.model_type
        one = Tried(number=len(tried), params=params, outcome="searched", reason="", seconds=0.0)
        scores: list[float] = []
        try:
            for part in job.parts:
                model = self._trainer.train(model_type, part.train, params or None)
                recipe = Recipe.of(model_type, model, self._rule)
                used = {name: recipe.params[name] for name in job.space if name in recipe.params}
                one = replace(one, params=used, recipe_id=recipe.recipe_id)
                scores.append(self._score(model_type, model, part))
                if len(scores) < len(job.parts):
                    if job.over() is not None:
                        one = replace(one, outcome="interrupted")
                        break
                    if tried and _hopeless(scores, tried[0].scores):
                        one = replace(one, outcome="pruned")
                        break
        except ClmError as error:
            scores, one = [], replace(one, outcome="failed", reason=str(error))
        score = fmean(scores) if scores else None
        one = replace(one, scores=tuple(scores), score=score, seconds=self._clock() - began)
        return replace(one, reason=_sentence(one, tried[0] if tried else one))

    def _score(self, model_type: str, model: TrainedModel, part: _Part) -> float:
        score = self._evaluator.evaluate(model, part.test, model_type, role="trial").metrics["r2_normalised"]
        if score is None:
            raise InsufficientData(f"{self.series}: no price moved in a fold; nothing can be scored on it")
        return score

    def _record(self, job: _Job, one: Tried, now: datetime, about: Mapping[str, Any]) -> None:
        details = {"trial": one.number, "params": one.params, "score": one.score, "scores": one.scores}
        trial = Trial(
            model_type=job.model_type, version=None, recipe_id=one.recipe_id, began_at=now,
            outcome=one.outcome, reason=one.reason, seconds=one.seconds,
            trigger=f"Search: trial {one.number}", details={**details, **about},
        )  # fmt: skip
        self._registry.book.record_trial(trial)

    def _answer(self, job: _Job, proposer: Proposer, one: Tried) -> None:
        """Tells the proposer what came of a recipe. Raises TrainingFailed where it was the present one."""
        if one.number:
            (proposer.scored if one.outcome == "searched" else proposer.given_up)(one.scores)
        elif one.outcome == "failed":
            raise TrainingFailed(
                f"{self.series}: the present recipe of {job.model_type} cannot be scored, and nothing can "
                f"be compared with it: {one.reason}"
            )
        elif all(name in one.params and one.params[name] in span for name, span in job.space.items()):
            proposer.known(one.params, one.scores)

    def _counted(self, job: _Job, tried: Sequence[Tried], now: datetime) -> int:
        """Recipes that searches have tried besides the present one, on windows that overlap this one."""
        known = {
            trial.recipe_id
            for trial in self._registry.book.trials(job.model_type, _LEDGER)
            if trial.outcome in ("searched", "pruned") and now - trial.began_at < self._rule.lookback
        }
        return len(known - {one.recipe_id for one in tried[:1]})

    def _told(self, job: _Job, number: int, total: int) -> Progress:
        what = f"trial {number} of {total - 1}" if number else "the present recipe"
        return Progress(
            step="search", message=f"{self.series} {job.model_type}: {what}", done=number, total=total,
            model_type=job.model_type, series=self.series,
        )  # fmt: skip


def _hopeless(scores: Sequence[float], present: Sequence[float]) -> bool:
    if len(scores) < FOLDS // 2:
        return False
    gain, error = difference(scores, present)
    return gain < -_HOPELESS * error


def _tidy(value: Value) -> Value:
    """Three figures are enough, and can be copied by hand."""
    return value if isinstance(value, int) else float(f"{value:.3g}")


def _sentence(one: Tried, present: Tried) -> str:
    """What was tried and what came of it."""
    what = listed(one.params)
    if one.score is None:
        return f"{what}: {one.reason}" if what else one.reason
    given_up = {"pruned": ", then given up", "interrupted": ", then interrupted"}.get(one.outcome, "")
    said = f"{what}: R² by volatility {one.score:+.3%} on {len(one.scores)} folds{given_up}"
    if not one.number:
        return f"the present recipe, {said}"
    beside = one.score - fmean(present.scores[: len(one.scores)])
    return f"{said}; {100 * beside:+.3f} points beside the present recipe"
