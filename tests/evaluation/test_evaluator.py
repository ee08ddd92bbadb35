"""Models are judged on rows with an outcome, and compared on common hours only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import SCALE, TARGET, FloatArray
from clm.core.errors import InsufficientData, TrainingFailed
from clm.core.scoring import forecasts
from clm.evaluation.evaluator import QuantumModelEvaluator
from tests.support.frames import feature_frame


@dataclass
class Answers:
    """A model that answers `factor` × f0 × σ, or whatever it is told to."""

    factor: float = 0.2
    fixed: FloatArray | None = None
    model_type: str = "answers"
    feature_names: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ".json"

    def predict(self, df: pd.DataFrame) -> FloatArray:
        if self.fixed is not None:
            return self.fixed
        return (self.factor * df["f0"] * df[SCALE]).to_numpy(dtype=np.float64)

    def to_bytes(self) -> bytes:
        return b""


class NoFeatures:
    """Stands where candles would need features; the frames here have them already."""

    warmup = 0

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError("a frame with a target needs no features")

    def get_feature_names(self) -> list[str]:
        return []


EVALUATOR = QuantumModelEvaluator(NoFeatures())


def test_rows_without_an_outcome_are_left_out() -> None:
    frame = feature_frame(100)
    frame.loc[frame.index[-3:], TARGET] = np.nan

    result = EVALUATOR.evaluate(Answers(), frame, "answers")

    assert (result.n_samples, result.end) == (97, frame.index[96])
    assert result.metrics["r2"] > 0


def test_no_row_with_an_outcome_is_an_error() -> None:
    with pytest.raises(InsufficientData, match="no hour with a known outcome"):
        EVALUATOR.evaluate(Answers(), feature_frame(10).assign(**{TARGET: np.nan}), "answers")


@pytest.mark.parametrize("answer", [np.full(100, np.nan), np.zeros(99), np.zeros((100, 1))])
def test_a_model_that_answers_nonsense_fails_and_never_scores(answer: FloatArray) -> None:
    with pytest.raises(TrainingFailed, match="one finite forecast per row"):
        EVALUATOR.evaluate(Answers(fixed=answer), feature_frame(100), "answers")


def test_two_models_are_compared_on_their_common_hours_only() -> None:
    frame = feature_frame(1000)
    candidate = EVALUATOR.evaluate(Answers(), frame.iloc[:800], "answers")
    champion = EVALUATOR.evaluate(Answers(-0.2), frame.iloc[600:], "answers", role="champion")

    comparison = EVALUATOR.compare_to_active(candidate, champion)

    again = EVALUATOR.evaluate(Answers(), frame.iloc[600:800], "answers")
    assert comparison.hours == 200
    assert comparison.candidate_metrics == again.metrics
    assert comparison.mse_gain > 0.03
    assert comparison.dm_p_value < 0.05


def test_swapping_the_models_turns_the_comparison_around() -> None:
    frame = feature_frame(1000)
    one, other = (EVALUATOR.evaluate(Answers(f), frame, "answers") for f in (0.2, 0.1))

    there, back = EVALUATOR.compare_to_active(one, other), EVALUATOR.compare_to_active(other, one)

    assert (1 - there.mse_gain) * (1 - back.mse_gain) == pytest.approx(1)
    assert there.dm_p_value + back.dm_p_value == pytest.approx(1)


def test_without_a_common_hour_nothing_is_claimed() -> None:
    frame = feature_frame(200)
    one, other = (EVALUATOR.evaluate(Answers(), part, "a") for part in (frame.iloc[:100], frame.iloc[100:]))

    comparison = EVALUATOR.compare_to_active(one, other)

    assert (comparison.hours, comparison.mse_gain, comparison.dm_p_value) == (0, None, None)


def test_a_model_compared_with_itself_gains_nothing() -> None:
    result = EVALUATOR.evaluate(Answers(), feature_frame(300), "answers")

    comparison = EVALUATOR.compare_to_active(result, result)

    assert (comparison.mse_gain, comparison.direction_gain, comparison.dm_p_value) == (0, 0, None)


def test_without_a_volatility_feature_errors_count_as_they_are() -> None:
    frame = feature_frame(300)
    fixed = np.full(300, 0.001)

    metrics = EVALUATOR.evaluate(Answers(fixed=fixed), frame.drop(columns=SCALE), "answers").metrics

    assert metrics["r2"] == pytest.approx(metrics["r2_normalised"])


class Nameless:
    """A host's model that knows how to predict, badly, and nothing else that is asked of a model."""

    def predict(self, df: pd.DataFrame) -> FloatArray:
        raise KeyError("close")


@pytest.mark.parametrize("wrong", ["raises", "answers too few"])
def test_what_is_wrong_with_a_model_that_lacks_even_its_name_is_said_all_the_same(wrong: str) -> None:
    """The handler of its error must not break down itself."""
    model = Nameless()
    if wrong == "answers too few":
        model.feature_names = ()  # type: ignore[attr-defined]
        model.predict = lambda df: np.zeros(1)  # type: ignore[method-assign]

    with pytest.raises(TrainingFailed, match="Nameless: the candidate"):
        forecasts(model, feature_frame(20, 4), "candidate")  # type: ignore[arg-type]
