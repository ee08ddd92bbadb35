"""From a fortnight of hours on a cycle does its work, says once what gave way for it, keeps its recipe."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from clm import QuantumFeatureEngineer, QuantumModelTrainer
from clm.core.domain import TARGET, ModelArtifact, RetrainReport, fingerprint
from clm.core.errors import InsufficientData, InvalidSetting
from clm.core.origin import Origin
from clm.settings import Settings
from tests.support.candles import random_walk
from tests.support.managers import manager_over
from tests.support.networks import needs_deep
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC

CANDLES = random_walk(24 * 120)
BOTH = ("xgboost", "lightgbm")


def _cycle(
    candles: pd.DataFrame = CANDLES, models: tuple[str, ...] = BOTH, **settings: Any
) -> tuple[RetrainReport, list[ModelArtifact]]:
    """A cycle with the default recipe, and what it saved."""
    registry = DictRegistry(BTC)
    report = manager_over(FrameDataClient(candles), registry, models=models, **settings).run_full_cycle()
    return report, [registry.get_model_history(model)[0] for model in report.models_trained]


@pytest.mark.parametrize("days", [14, 30, 45, 63])
def test_a_short_lookback_is_trained_judged_and_promoted_with_the_default_recipe(days: int) -> None:
    report, made = _cycle(training_lookback_days=days)

    assert (report.failures, report.promoted_models) == ({}, BOTH)
    assert all(evaluation.n_samples >= 30 for evaluation in report.evaluations)
    for artifact in made:
        assert artifact.training_samples >= 200
        assert artifact.params["min_data_in_leaf"] == 500
        assert len(re.findall(r"holdout [\d.]+ days \(of 30\) and purge 24 hours", artifact.notes)) == 1
        if days < 45:
            assert len(re.findall(r"min_data_in_leaf \d+ \(of 500\)", artifact.notes)) == 1


def test_a_history_of_a_fortnight_under_the_default_lookback_is_enough_too() -> None:
    engineer = QuantumFeatureEngineer(use_advanced=False)
    young = CANDLES.iloc[-(14 * 24 + engineer.warmup) :]

    report, _ = _cycle(young, training_lookback_days=365)

    assert (report.failures, report.promoted_models) == ({}, BOTH)


@pytest.mark.rehearse
@needs_deep
def test_networks_make_do_with_a_fortnight_too() -> None:
    few = {name: {"max_steps": 10} for name in ("nhits", "patchtst")}

    report, _ = _cycle(models=("nhits", "patchtst"), training_lookback_days=14, trainer_params=few)

    assert report.failures == {}


def test_retrains_that_adapt_to_other_rows_share_one_recipe() -> None:
    """Ten rows less, another holdout, a leaf of another size: evidence goes on adding up."""
    _, first = _cycle(training_lookback_days=30)
    _, gaps = _cycle(CANDLES.drop(CANDLES.index[-500:-490]), training_lookback_days=30)
    _, young = _cycle(CANDLES.iloc[-24 * 26 :], training_lookback_days=30)

    ids = [tuple(artifact.recipe_id for artifact in made) for made in (first, gaps, young)]
    rows = {made[0].training_samples for made in (first, gaps, young)}
    assert len(set(ids)) == 1
    assert len(rows) == 3


def test_what_was_enough_before_is_split_and_hashed_as_it_was() -> None:
    report, made = _cycle(training_lookback_days=90)

    assert report.evaluations[0].n_samples == 720
    # What a recipe's id is made of: were it other than it was, evidence would begin anew for everybody.
    asked = (
        "TimelineRule(lookback=datetime.timedelta(days=90), holdout=datetime.timedelta(days=30), "
        "shadow=datetime.timedelta(days=1), purge=datetime.timedelta(days=1), horizon=1)"
    )
    for artifact in made:
        params = json.dumps(dict(artifact.params), sort_keys=True)
        told = fingerprint(artifact.model_type, artifact.feature_schema_hash, params, asked)
        assert artifact.recipe_id == told[:16]
    windows = made[0].origin["windows"] if made[0].origin else {}
    assert windows == {
        "lookback": 90 * 86_400.0, "holdout": 30 * 86_400.0, "shadow": 86_400.0, "purge": 86_400.0,
        "horizon": 1,
    }  # fmt: skip


def test_what_is_stored_of_the_windows_makes_the_training_rows_again() -> None:
    _, (artifact, _) = _cycle(training_lookback_days=30, purge_hours=100)

    assert artifact.origin is not None
    origin = Origin.from_json(artifact.origin)
    refit = origin.rule.at(origin.now, BTC.step).refit
    assert origin.rule.purge == timedelta(hours=51)
    assert refit.end == artifact.train_end
    features = QuantumFeatureEngineer(use_advanced=False).transform(CANDLES)
    assert len(refit.rows(features, BTC.step)) == artifact.training_samples


@pytest.mark.parametrize("model_type", BOTH)
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_any_sample_of_a_frame_can_be_trained_on(model_type: str, share: float) -> None:
    df = QuantumFeatureEngineer(use_advanced=False).transform(CANDLES).dropna(subset=[TARGET])

    model = QuantumModelTrainer().train(model_type, df.sample(frac=share, random_state=1))

    assert model.predict(df).std() > 0


def test_what_is_truly_too_little_names_the_setting() -> None:
    df = QuantumFeatureEngineer(use_advanced=False).transform(CANDLES)

    with pytest.raises(
        InsufficientData, match=r"150 rows to train on; at least 200 .*training_lookback_days"
    ):
        QuantumModelTrainer().train("lightgbm", df.iloc[:150])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"training_lookback_days": 10}, "CLM_TRAINING_LOOKBACK_DAYS: 10.0 is not allowed"),
        ({"training_lookback_days": 90, "interval": "1d"}, "CLM_TRAINING_LOOKBACK_DAYS: 90.0 is not allowed"),
        ({"purge_hours": 0.5}, "CLM_PURGE_HOURS: 0.5 is not allowed"),
        ({"shadow_test_hours": 2, "interval": "4h"}, "CLM_SHADOW_TEST_HOURS: 2.0 is not allowed"),
        ({"holdout_days": 1}, "CLM_HOLDOUT_DAYS: 1.0 is not allowed"),
    ],
    ids=["lookback", "coarse", "purge", "shadow", "holdout"],
)
def test_settings_no_cycle_could_succeed_with_are_refused_when_they_are_read(
    given: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidSetting, match=named):
        Settings.load(**given)


def test_the_guides_cure_for_slow_training_is_none_of_them() -> None:
    assert Settings.load(training_lookback_days=30).windows().lookback == timedelta(days=30)
