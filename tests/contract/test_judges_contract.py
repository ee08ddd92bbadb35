"""What every evaluator and shadow tester promises; ours are the only ones, a wrapper stands for anybody's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import TARGET, Comparison, EvaluationResult, ShadowTestResult
from clm.core.errors import InsufficientData
from clm.core.plugins import model_family
from clm.core.protocols import ModelEvaluator, ShadowTester, TrainedModel
from clm.evaluation.evaluator import QuantumModelEvaluator
from clm.shadow.tester import QuantumShadowTester
from tests.support.candles import random_walk
from tests.support.parts import FrameDataClient, TwoFeatures

CANDLES = random_walk(2000)
FRAME = TwoFeatures().transform(CANDLES)


class Careful:
    """A third party's evaluator and shadow tester: asks ours, twice, and insists on equal answers."""

    def __init__(self) -> None:
        self._evaluator = QuantumModelEvaluator(TwoFeatures())
        self._tester = QuantumShadowTester(FrameDataClient(CANDLES), TwoFeatures())

    def evaluate(
        self, model: TrainedModel, df: pd.DataFrame, model_type: str, *, role: str = "candidate"
    ) -> EvaluationResult:
        one, two = (self._evaluator.evaluate(model, df, model_type, role=role) for _ in range(2))
        assert one == two
        return one

    def compare_to_active(
        self, candidate_result: EvaluationResult, active_result: EvaluationResult
    ) -> Comparison:
        return self._evaluator.compare_to_active(candidate_result, active_result)

    def run_shadow_test(
        self, model_type: str, candidate_model: TrainedModel, active_model: TrainedModel | None,
        hours: float = 24, *, features: pd.DataFrame | None = None,
    ) -> ShadowTestResult:  # fmt: skip
        asked: Any = (model_type, candidate_model, active_model, hours)
        one, two = (self._tester.run_shadow_test(*asked, features=features) for _ in range(2))
        assert one == two
        return one


@pytest.fixture(params=["ours", "third party"])
def evaluator(request: pytest.FixtureRequest) -> ModelEvaluator:
    return Careful() if request.param == "third party" else QuantumModelEvaluator(TwoFeatures())


@pytest.fixture(params=["ours", "third party"])
def tester(request: pytest.FixtureRequest) -> ShadowTester:
    ours = QuantumShadowTester(FrameDataClient(CANDLES), TwoFeatures())
    return Careful() if request.param == "third party" else ours


@pytest.fixture(params=["xgboost", "lightgbm", "sklearn_ridge"])
def model(request: pytest.FixtureRequest) -> TrainedModel:
    params = {} if request.param == "sklearn_ridge" else {"min_data_in_leaf": 50}
    return model_family(request.param).train(FRAME.iloc[:-1], params, 0)


def test_they_are_such(evaluator: ModelEvaluator, tester: ShadowTester) -> None:
    assert isinstance(evaluator, ModelEvaluator)
    assert isinstance(tester, ShadowTester)


def test_candles_and_their_features_are_judged_alike(evaluator: ModelEvaluator, model: TrainedModel) -> None:
    by_candles = evaluator.evaluate(model, CANDLES, model.model_type)
    by_features = evaluator.evaluate(model, FRAME, model.model_type)

    assert by_candles == by_features
    assert by_candles.n_samples == FRAME[TARGET].notna().sum()


def test_a_result_can_be_reckoned_again_from_what_it_holds(
    evaluator: ModelEvaluator, model: TrainedModel
) -> None:
    result = evaluator.evaluate(model, FRAME, model.model_type, role="champion")

    assert (result.model_type, result.role) == (model.model_type, "champion")
    assert len(result.times) == len(result.forecast) == len(result.actual) == len(result.scale)
    error = result.forecast - result.actual
    assert result.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean(error**2))))
    assert result.metrics["mae"] == pytest.approx(float(np.mean(np.abs(error))))


def test_a_comparison_holds_only_common_hours(evaluator: ModelEvaluator, model: TrainedModel) -> None:
    early, late = (
        evaluator.evaluate(model, part, model.model_type) for part in (FRAME.iloc[:900], FRAME.iloc[600:])
    )

    assert evaluator.compare_to_active(early, late).hours == 300
    assert evaluator.compare_to_active(early, late).mse_gain == pytest.approx(0)


def test_a_replay_is_as_long_as_asked_and_ends_with_the_newest_outcome(
    tester: ShadowTester, model: TrainedModel
) -> None:
    result = tester.run_shadow_test(model.model_type, model, model, 48)

    assert result.n_samples == 48
    assert result.end == CANDLES.index[-2]
    assert (result.rmse_difference, result.mse_ratio, result.passed) == (0, 1, True)
    assert tester.run_shadow_test(model.model_type, model, None, 48, features=FRAME).n_samples == 48


def test_nothing_to_judge_is_an_error(
    evaluator: ModelEvaluator, tester: ShadowTester, model: TrainedModel
) -> None:
    unknown = FRAME.assign(**{TARGET: np.nan})
    with pytest.raises(InsufficientData):
        evaluator.evaluate(model, unknown, model.model_type)
    with pytest.raises(InsufficientData):
        tester.run_shadow_test(model.model_type, model, None, 24, features=unknown)
