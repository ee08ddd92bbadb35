"""The shadow replay looks at the last hours, at nothing else, and says what it saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from clm.core.domain import SCALE, TARGET, FloatArray
from clm.core.errors import InsufficientData, InvalidSetting, TrainingFailed
from clm.shadow.tester import QuantumShadowTester
from tests.support.candles import random_walk
from tests.support.frames import feature_frame
from tests.support.parts import FrameDataClient


class Factor:
    """Answers `factor` × f0 × σ."""

    model_type, suffix, feature_names = "factor", ".json", ()
    params: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, df: pd.DataFrame) -> FloatArray:
        return (self.factor * df["f0"] * df[SCALE]).to_numpy(dtype=np.float64)

    def to_bytes(self) -> bytes:
        return b""


class Columns:
    """A feature engineer of two columns."""

    warmup = 24

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        close = np.log(df["close"])
        frame = pd.DataFrame({"f0": close.diff(24), SCALE: 0.006, TARGET: close.shift(-1) - close})
        return frame.iloc[24:]

    def get_feature_names(self) -> list[str]:
        return ["f0", SCALE]


def _features() -> pd.DataFrame:
    """A frame whose newest row, as ever, does not know its outcome yet."""
    frame = feature_frame(500)
    frame.iloc[-1, frame.columns.get_loc(TARGET)] = np.nan
    return frame


TESTER = QuantumShadowTester(FrameDataClient(random_walk(800)), Columns())


@pytest.mark.parametrize("hours", [24, 6, 100.5])
def test_exactly_the_last_hours_with_an_outcome_are_replayed(hours: float) -> None:
    frame = _features()

    result = TESTER.run_shadow_test("factor", Factor(0.2), None, hours, features=frame)

    assert result.n_samples == int(hours)
    assert result.end == frame.index[-2]
    assert result.passed
    assert result.active_rmse is None


def test_figures_equal_their_definitions_on_those_hours() -> None:
    frame = _features()
    rows = frame.iloc[-25:-1]
    candidate, champion = Factor(0.2), Factor(0.05)

    result = TESTER.run_shadow_test("factor", candidate, champion, 24, features=frame)

    ours, theirs = (model.predict(rows) - rows[TARGET] for model in (candidate, champion))
    assert result.candidate_rmse == pytest.approx(np.sqrt((ours**2).mean()))
    assert result.rmse_difference == pytest.approx(np.sqrt((ours**2).mean()) - np.sqrt((theirs**2).mean()))
    assert result.mae_difference == pytest.approx(ours.abs().mean() - theirs.abs().mean())
    assert result.mse_ratio == pytest.approx(
        ((ours / rows[SCALE]) ** 2).mean() / ((theirs / rows[SCALE]) ** 2).mean()
    )
    ks = ks_2samp(candidate.predict(rows), champion.predict(rows))
    assert (result.ks_statistic, result.ks_p_value) == pytest.approx((ks.statistic, ks.pvalue))


def test_what_happened_before_those_hours_changes_nothing() -> None:
    frame = _features()
    other = frame.copy()
    other.iloc[:400] = 9.9

    one, two = (
        TESTER.run_shadow_test("factor", Factor(0.2), Factor(0.1), 24, features=f) for f in (frame, other)
    )

    assert one == two


def test_a_much_worse_candidate_fails_with_the_number_that_failed_it() -> None:
    result = TESTER.run_shadow_test("factor", Factor(20), Factor(0.2), 24, features=_features())

    assert not result.passed
    assert result.mse_ratio > 1.25
    assert f"{result.mse_ratio:.4f} of the champion's" in result.reason


def test_without_features_in_hand_it_reads_its_own_candles() -> None:
    result = TESTER.run_shadow_test("factor", Factor(0.2), Factor(0.1), 24)

    assert result.n_samples == 24


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="hours"):
        TESTER.run_shadow_test("factor", Factor(0.2), None, 0, features=_features())
    with pytest.raises(InsufficientData, match="no candle with a known outcome"):
        TESTER.run_shadow_test(
            "factor", Factor(0.2), None, 24, features=_features().assign(**{TARGET: np.nan})
        )
    with pytest.raises(TrainingFailed, match="the champion"):
        TESTER.run_shadow_test("factor", Factor(0.2), Factor(np.nan), 24, features=_features())
