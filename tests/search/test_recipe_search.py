"""A search sees the training window alone, can be repeated, writes all of it down, and is hard to impress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import TARGET
from clm.core.errors import BadInput, InsufficientData, TrainingFailed
from clm.core.space import Range
from clm.core.timeline import TimelineRule
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.features.engineer import QuantumFeatureEngineer
from clm.search.findings import Findings, Tried, judge
from clm.search.folds import FOLDS, chained
from clm.search.proposer import OptunaProposer
from clm.search.search import Budget, RecipeSearch
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk
from tests.support.exchange import NOW, simulated
from tests.support.managers import manager_over
from tests.support.networks import needs_deep
from tests.support.parts import DictRegistry, FrameDataClient, TwoFeatures
from tests.support.stage import RIDGE
from tests.support.versions import BTC

HOUR = timedelta(hours=1)
RULE = TimelineRule(lookback=timedelta(days=90))
#: Small enough for the first fold of so short a window.
SMALL = {"lightgbm": {"min_data_in_leaf": 150}}
#: One tree that hardly learns.
CRIPPLED = {"lightgbm": {"num_boost_round": 1, "learning_rate": 0.001, "min_data_in_leaf": 100}}


def _search(
    candles: pd.DataFrame,
    registry: DictRegistry | None = None,
    params: dict[str, dict[str, Any]] | None = None,
    **more: Any,
) -> RecipeSearch:
    features, rule = more.pop("features", None) or TwoFeatures(), more.pop("rule", RULE)
    return RecipeSearch(
        FrameDataClient(candles), features, QuantumModelTrainer(params=params or SMALL),
        QuantumModelEvaluator(features), registry or DictRegistry(BTC), rule, **more,
    )  # fmt: skip


def _without_seconds(findings: Findings) -> list[Tried]:
    return [replace(one, seconds=0.0) for one in findings.tried]


@pytest.fixture(scope="module")
def walk() -> pd.DataFrame:
    return random_walk(2400, seed=3)


def _with_signal() -> pd.DataFrame:
    """A market whose next return can be forecast by its takers; far more than a real one's."""
    tape = simulated().tapes["BTCUSDT"]["1h"]
    opens = pd.DatetimeIndex(pd.to_datetime(tape.opens, unit="ms", utc=True), name="open_time")
    frame = pd.DataFrame(dict(tape.columns), index=opens)
    return frame[frame.index < pd.Timestamp(NOW).floor("h")]


class TestTheFuture:
    def _changed(self, candles: pd.DataFrame, since: pd.Timestamp) -> pd.DataFrame:
        noise = np.exp(np.random.default_rng(9).normal(0, 0.2, len(candles)))
        factor = np.where(candles.index >= since, noise, 1.0)
        prices = ["open", "high", "low", "close", "volume"]
        return candles.assign(**{name: candles[name] * factor for name in prices})

    def test_whatever_comes_after_the_training_window_no_proposal_and_no_score_is_another(
        self, walk: pd.DataFrame
    ) -> None:
        end = RULE.at(walk.index[-1] + HOUR, HOUR).fit.end
        budget = Budget(trials=4)

        as_it_was = _search(walk).run("lightgbm", budget)
        after = _search(self._changed(walk, pd.Timestamp(end))).run("lightgbm", budget)
        before = _search(self._changed(walk, pd.Timestamp(end - 2 * HOUR))).run("lightgbm", budget)

        assert _without_seconds(after) == _without_seconds(as_it_was)
        assert as_it_was.fit.end == end
        # A change inside the window is noticed: the comparison above can fail.
        assert _without_seconds(before) != _without_seconds(as_it_was)

    def test_no_fold_is_trained_on_what_it_is_tested_on_and_the_tests_leave_nothing_out(
        self, walk: pd.DataFrame
    ) -> None:
        fit = RULE.at(walk.index[-1] + HOUR, HOUR).fit
        features = TwoFeatures().transform(walk)
        folds = chained(fit, RULE.purge, HOUR)

        tests = [fold.test.rows(features, HOUR) for fold in folds]
        for fold, test in zip(folds, tests, strict=True):
            train = fold.train.rows(features, HOUR)
            # A label is known two steps after its candle opened, a forecast made one step after.
            assert test.index[0] + HOUR - (train.index[-1] + 2 * HOUR) >= RULE.purge
            assert train.index[0] == fit.start - HOUR
        together = pd.concat(tests)
        assert len(folds) == FOLDS
        assert together.index.is_monotonic_increasing
        assert together.index.is_unique
        assert together.index[-1] + 2 * HOUR == fit.end
        assert len(together) == (fit.end - folds[0].test.start) // HOUR


class TestWhatItTries:
    def test_the_same_seed_proposes_the_same_and_another_another(self, walk: pd.DataFrame) -> None:
        first, again, other = (_search(walk).run("lightgbm", Budget(4), seed=s) for s in (1, 1, 2))

        assert _without_seconds(first) == _without_seconds(again)
        assert first.tried[1:] != other.tried[1:]
        assert _without_seconds(first)[0] == _without_seconds(other)[0]

    def test_trial_0_is_the_present_recipe_under_the_id_its_versions_have(self, walk: pd.DataFrame) -> None:
        own = {"lightgbm": {"num_trees": 25, "min_data_in_leaf": 120}}
        registry = DictRegistry(BTC)
        manager = manager_over(walk, registry, features=TwoFeatures(), trainer_params=own)
        manager.run_full_cycle()

        present = _search(walk, registry, own).run("lightgbm", Budget(1)).tried[0]

        assert (present.number, present.outcome) == (0, "searched")
        assert (present.params["num_boost_round"], present.params["min_data_in_leaf"]) == (25, 120)
        champion = registry.get_active("lightgbm")
        assert champion is not None
        assert present.recipe_id == champion.recipe_id

    def test_a_crippled_recipe_is_beaten_where_there_is_something_to_learn(self) -> None:
        features = QuantumFeatureEngineer(use_advanced=False)
        year = TimelineRule(lookback=timedelta(days=360))
        search = _search(_with_signal(), params=CRIPPLED, features=features, rule=year)

        found = search.run("lightgbm", Budget(6))

        verdict = found.verdict
        assert verdict.proposed is not None
        assert verdict.proposed["num_boost_round"] >= 20
        assert verdict.gain > verdict.needed * verdict.standard_error > 0
        assert "chosen by these very scores" in found.note

    def test_a_family_of_somebody_else_offers_its_own_space(self, walk: pd.DataFrame) -> None:
        found = _search(walk).run(RIDGE, Budget(3))

        assert [set(one.params) for one in found.tried] == [{"alpha"}] * 4
        assert found.tried[0].params == {"alpha": 1000.0}
        assert all(10 <= one.params["alpha"] <= 100_000 for one in found.tried)

    def test_a_present_recipe_outside_of_the_space_is_still_what_is_compared_with(
        self, walk: pd.DataFrame
    ) -> None:
        found = _search(walk, params={RIDGE: {"alpha": 1.0}}).run(RIDGE, Budget(2))

        assert found.tried[0].params == {"alpha": 1.0}
        assert [one.outcome for one in found.tried] == ["searched"] * 3

    @needs_deep
    @pytest.mark.rehearse
    def test_a_family_without_a_space_is_refused_with_what_is_allowed(self, walk: pd.DataFrame) -> None:
        with pytest.raises(BadInput, match="models: 'nhits' is not allowed; allowed: a model type whose"):
            _search(walk).run("nhits")

    def test_too_short_a_history_is_told_in_candles(self, walk: pd.DataFrame) -> None:
        with pytest.raises(InsufficientData, match="at least 200 are needed to search on"):
            _search(walk.iloc[-1400:]).run("lightgbm")


class TestTheLedger:
    def test_every_trial_is_in_it_the_failed_ones_with_their_cause(self, walk: pd.DataFrame) -> None:
        registry = DictRegistry(BTC)

        found = _search(walk, registry).run("lightgbm", Budget(12))

        stored = registry.book.trials("lightgbm", 100)[::-1]
        assert [t.outcome for t in stored] == [one.outcome for one in found.tried]
        assert "searched" in {t.outcome for t in stored}
        assert [t.details["params"] for t in stored] == [one.params for one in found.tried]
        assert [t.details["score"] for t in stored] == [one.score for one in found.tried]
        assert {t.version for t in stored} == {None}
        assert stored[0].trigger == "Search: trial 0"
        assert "points beside the present recipe" in next(
            t.reason for t in stored[1:] if t.outcome == "searched"
        )

    def test_what_earlier_searches_tried_counts_and_the_same_recipe_counts_once(
        self, walk: pd.DataFrame
    ) -> None:
        registry = DictRegistry(BTC)

        first, again, other = (_search(walk, registry).run(RIDGE, Budget(3), seed=s) for s in (0, 0, 1))

        assert [f.counted for f in (first, again, other)] == [3, 3, 6]

    def test_a_present_recipe_that_cannot_be_trained_ends_it_on_record(self, walk: pd.DataFrame) -> None:
        registry = DictRegistry(BTC)

        with pytest.raises(TrainingFailed, match="the present recipe of lightgbm cannot be scored"):
            _search(walk, registry, {"lightgbm": {"lambda_l1": 10**6}}).run("lightgbm")

        (failed,) = registry.book.trials("lightgbm")
        assert (failed.outcome, "no tree found a split" in failed.reason) == ("failed", True)


class TestItsEnd:
    def test_the_time_limit_ends_it_between_two_folds_and_what_was_found_is_told(
        self, walk: pd.DataFrame
    ) -> None:
        ticks = iter(range(10**6))
        registry = DictRegistry(BTC)

        # Every look at the clock takes a second: the present recipe is through, the next is in the middle.
        found = _search(walk, registry, clock=lambda: float(next(ticks))).run(RIDGE, Budget(50, 15))

        assert [one.outcome for one in found.tried] == ["searched", "interrupted"]
        assert found.ended == "the time was up"
        assert found.verdict.proposed is None
        assert len(registry.book.trials()) == 2

    def test_who_stops_it_is_heard_between_two_folds(self, walk: pd.DataFrame) -> None:
        asked = iter([False] * 12 + [True] * 5)

        found = _search(walk).run(RIDGE, Budget(50), stop=lambda: next(asked))

        assert [one.outcome for one in found.tried] == ["searched", "interrupted"]
        assert found.ended == "it was interrupted"

    def test_wrong_budgets_and_seeds_name_the_field_and_what_is_allowed(self) -> None:
        with pytest.raises(BadInput, match="trials: 0 is not allowed; allowed: a whole number from 1 to"):
            Budget(trials=0)
        with pytest.raises(BadInput, match="seconds: nan is not allowed; allowed: above 0"):
            Budget(seconds=float("nan"))
        with pytest.raises(BadInput, match="seed: -1 is not allowed; allowed: a whole number from 0"):
            OptunaProposer({"alpha": Range(1, 2)}, -1)


class TestTheVerdict:
    def _tried(self, number: int, scores: Mapping[int, float] | list[float]) -> Tried:
        return Tried(
            number=number, params={"alpha": float(number)}, outcome="searched", reason="", seconds=0.0,
            scores=tuple(scores),
        )  # fmt: skip

    def test_one_lead_that_is_enough_of_two_recipes_is_not_of_thirty(self) -> None:
        present = self._tried(0, [0.0] * 8)
        # Ahead by two standard errors.
        ahead = self._tried(1, [0.010 + 0.014 * sign for sign in (1, -1) * 4])

        few, many = judge([present, ahead], 2), judge([present, ahead], 30)

        assert 1.8 < few.gain / few.standard_error < 2.0
        assert few.proposed == {"alpha": 1.0}
        assert (many.proposed, round(many.needed, 2)) == (None, 2.61)
        assert "the best of 30 must be by 2.6 standard errors: nothing is proposed" in many.reason

    def test_nothing_ahead_is_said_so(self) -> None:
        found = judge([self._tried(0, [0.01, 0.02]), self._tried(1, [0.0, 0.01])], 1)

        assert found.proposed is None
        assert "none of 1 recipes is ahead of the present one" in found.reason

    def test_without_the_present_recipes_score_there_is_no_verdict(self) -> None:
        assert "before the present recipe was scored" in judge([], 0).reason


def test_the_frame_searched_on_carries_no_outcome_of_after_the_window(walk: pd.DataFrame) -> None:
    """The last label a trainer is handed is known at the end of the window, at the latest."""
    end = RULE.at(walk.index[-1] + HOUR, HOUR).fit.end
    known: list[pd.Timestamp] = []

    class Watching(QuantumModelEvaluator):
        def evaluate(self, model: Any, df: pd.DataFrame, model_type: str, *, role: str = "candidate") -> Any:
            known.append(df.index[df[TARGET].notna()][-1] + 2 * HOUR)
            return super().evaluate(model, df, model_type, role=role)

    features = TwoFeatures()
    search = RecipeSearch(
        FrameDataClient(walk), features, QuantumModelTrainer(), Watching(features), DictRegistry(BTC), RULE
    )
    search.run(RIDGE, Budget(1))

    assert max(known) == end
