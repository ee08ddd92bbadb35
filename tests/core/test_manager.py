"""The cycle of one series: what is due is tried, what fails is told, what is promoted was judged fairly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest

from clm.core.attempt import STEPS
from clm.core.domain import ModelArtifact, Outcome, Progress, Series, VersionStatus
from clm.core.errors import (
    ArtifactMissing,
    DatabaseUnavailable,
    InsufficientData,
    InvalidSetting,
    TrainingFailed,
    UnknownModelType,
)
from clm.core.manager import ContinuousLearningManager
from clm.core.policy import NewestPolicy
from clm.core.protocols import TrainedModel
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC

CANDLES = random_walk(24 * 160, seed=3)
FAST = {
    "lightgbm": {"num_trees": 5, "min_data_in_leaf": 100},
    "xgboost": {"num_trees": 5, "min_data_in_leaf": 100},
}


def _at(days: float) -> FrameDataClient:
    """The data client `days` after the first candle."""
    client = FrameDataClient(CANDLES)
    client.now = (CANDLES.index[0] + pd.Timedelta(days=days)).to_pydatetime()
    return client


def _manager(
    client: FrameDataClient, registry: DictRegistry | None = None, **more: Any
) -> ContinuousLearningManager:
    return manager_over(client, registry, trainer_params=FAST, **more)


def test_a_first_cycle_trains_promotes_and_reports_every_model() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    manager = _manager(client, registry, models=("xgboost", "lightgbm"))

    report = manager.run_full_cycle()

    assert report.triggers == {"xgboost": "Never trained", "lightgbm": "Never trained"}
    assert report.models_trained == report.promoted_models == ("xgboost", "lightgbm")
    assert report.failed_models == ()
    assert [e.role for e in report.evaluations] == ["candidate", "candidate"]
    assert [d.label for d in report.decisions] == ["first", "first"]
    champion = registry.get_active("xgboost")
    assert champion is not None
    assert champion.trained_at == champion.promoted_at == client.now == report.triggered_at
    assert champion.metrics == report.evaluations[0].metrics


class _Eager(QuantumModelTrainer):
    """Writes down what it was asked for."""

    def __init__(self) -> None:
        super().__init__(params=FAST)
        self.asked: list[str] = []

    def anticipate(self, model_type: str, frames: Sequence[pd.DataFrame]) -> None:
        self.asked.append(f"begin {model_type}")
        super().anticipate(model_type, frames)

    def forget(self) -> None:
        self.asked.append("forget")
        super().forget()


class _Gone(DictRegistry):
    def for_series(self, series: Series) -> Self:
        return self

    def save_model(self, artifact: ModelArtifact) -> ModelArtifact:
        raise DatabaseUnavailable("the database is gone")


def test_trainings_begun_early_are_forgotten_at_the_end_also_of_a_cycle_that_lost_its_database() -> None:
    well, ill = _Eager(), _Eager()
    manager_over(_at(120), trainer=well).run_full_cycle()
    lost = manager_over(_at(120), _Gone(BTC), trainer=ill)

    with pytest.raises(DatabaseUnavailable):
        lost.run_full_cycle()

    assert well.asked == ill.asked == ["begin lightgbm", "forget"]


def test_a_version_says_what_it_was_made_from() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    _manager(client, registry).run_full_cycle()
    version = registry.get_active("lightgbm")

    assert version is not None
    assert version.train_end == client.now - timedelta(hours=48)
    assert version.train_start == client.now - timedelta(days=90) - timedelta(hours=1)
    assert version.training_samples == (90 - 2) * 24
    assert version.params["num_boost_round"] == 5
    assert set(version.library_versions) == {"lightgbm", "numpy"}
    assert len(version.data_fingerprint) == len(version.feature_schema_hash) == 64
    assert version.parent_version is None


def test_candles_and_features_are_read_once_for_all_models() -> None:
    client = _at(120)

    _manager(client, models=("xgboost", "lightgbm")).run_full_cycle()

    assert client.loads == 1


def test_without_a_trigger_nothing_is_read_or_trained() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    _manager(client, registry).run_full_cycle()
    client.now += timedelta(days=3)

    report = _manager(client, registry, drift_triggers=False).run_full_cycle()

    assert report.models_trained == ()
    assert report.notes == ("nothing to do: no trigger fired",)
    assert report.triggers == {"lightgbm": None}
    assert report.trigger == "no trigger fired"
    assert client.loads == 1


def test_force_trains_whatever_the_triggers_say() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    _manager(client, registry).run_full_cycle()
    client.now += timedelta(days=3)

    report = _manager(client, registry).run_full_cycle(force=True)

    assert report.triggers == {"lightgbm": "Manual: forced"}
    assert report.trigger == "manual"
    assert report.models_trained == ("lightgbm",)


def test_named_models_are_tried_and_others_left_alone() -> None:
    registry = DictRegistry(BTC)

    report = _manager(_at(120), registry, models=("xgboost", "lightgbm")).run_full_cycle(["xgboost"])

    assert report.models_trained == ("xgboost",)
    assert registry.get_model_history("lightgbm") == []


def test_an_aged_champion_is_challenged_on_hours_neither_was_trained_on() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    _manager(client, registry).run_full_cycle()
    first = registry.get_active("lightgbm")
    client.now += timedelta(days=8)

    report = _manager(client, registry).run_full_cycle()

    assert first is not None
    assert report.trigger == "Time-based: Last trained 8 days ago"
    assert report.triggers == {"lightgbm": report.trigger}
    candidate, champion = report.evaluations
    assert (candidate.n_samples, champion.n_samples) == (720, 8 * 24)
    assert champion.times[0] + BTC.step >= first.train_end + timedelta(hours=24)
    assert report.decisions[0].numbers["compared_candles"] == 8 * 24
    assert report.decisions[0].champion_version == first.version


def test_a_champion_that_saw_the_whole_holdout_is_compared_on_nothing() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    _manager(client, registry).run_full_cycle()

    report = _manager(client, registry).run_full_cycle(force=True)

    assert [e.role for e in report.evaluations] == ["candidate"]
    (decision,) = report.decisions
    assert (decision.outcome, decision.label) == (Outcome.CONTINUE, "evidence")
    assert decision.numbers["evidence_candles"] == 24, "nothing but the replayed shadow hours"


def test_a_promotion_retires_the_champion_and_names_it_as_parent() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    _manager(client, registry).run_full_cycle()
    client.now += timedelta(days=8)

    _manager(client, registry, promotion_policy=NewestPolicy()).run_full_cycle()

    new, old = registry.get_model_history("lightgbm")
    assert (new.status, old.status) == (VersionStatus.ACTIVE, VersionStatus.RETIRED)
    assert new.parent_version == old.version


class _OneFails(QuantumModelTrainer):
    """Trains as ours, but XGBoost breaks down."""

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        if model_type == "xgboost":
            raise TrainingFailed("xgboost: out of memory")
        return super().train(model_type, df, FAST["lightgbm"])


def test_one_models_failure_is_told_and_does_not_stop_the_next() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    whole = _manager(client, registry, models=("xgboost", "lightgbm"))
    broken = ContinuousLearningManager(
        client, whole._features, _OneFails(), whole.attempt.evaluator, whole.attempt.shadow_tester,
        registry, training_lookback_days=90,
    )  # fmt: skip

    report = broken.run_full_cycle()

    assert report.failed_models == ("xgboost",)
    assert report.failures == {"xgboost": "xgboost: out of memory"}
    assert report.models_trained == ("lightgbm",)
    assert registry.get_model_history("xgboost") == []


class _Forgetful(DictRegistry):
    """Has lost the champion's file."""

    lost = False

    def load_model(self, artifact: Any) -> TrainedModel:
        if self.lost and artifact.status is VersionStatus.ACTIVE:
            raise ArtifactMissing(f"the file of {artifact.version} is missing")
        return super().load_model(artifact)

    def for_series(self, series: Any) -> DictRegistry:
        return self


def test_a_champion_without_file_is_retired_with_the_reason_and_a_first_takes_over() -> None:
    client, registry = _at(120), _Forgetful(BTC)
    _manager(client, registry).run_full_cycle()
    before = registry.get_active("lightgbm")
    client.now += timedelta(days=8)
    registry.lost = True

    report = _manager(client, registry).run_full_cycle()

    assert before is not None
    assert [(d.label, d.candidate_version) for d in registry.get_decisions("lightgbm")][1] == (
        "retire",
        before.version,
    )
    assert f"the file of {before.version} is missing" in registry.get_decisions("lightgbm")[1].reason
    assert [d.label for d in report.decisions] == ["first"]
    after = registry.get_active("lightgbm")
    assert after is not None
    assert after.version != before.version


def test_progress_tells_every_step_in_order() -> None:
    heard: list[Progress] = []

    _manager(_at(120), models=("xgboost", "lightgbm")).run_full_cycle(progress=heard.append)

    assert [p.step for p in heard] == [
        "candles", "features", *(STEPS * 2), "done",
    ]  # fmt: skip
    assert [p.done for p in heard] == list(range(15))
    assert {p.total for p in heard} == {14}
    assert heard[3].model_type == "xgboost"


def test_triggers_and_status_speak_of_every_known_model_type() -> None:
    client, registry = _at(120), DictRegistry(BTC)
    manager = _manager(client, registry)
    manager.run_full_cycle()

    triggers, status = manager.check_if_retrain_needed(), manager.get_model_status_summary()

    assert {"xgboost", "lightgbm", "nhits", "patchtst"} <= set(triggers) == set(status)
    assert (triggers["lightgbm"], triggers["xgboost"]) == (None, "Never trained")
    assert status["lightgbm"]["active_version"] is not None
    assert status["xgboost"]["active_version"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"training_lookback_days": 0}, "training_lookback_days"),
        ({"training_lookback_days": -90}, "training_lookback_days"),
        ({"training_lookback_days": 12}, "training_lookback_days: 12.0 .* at least 12.3"),
        ({"shadow_test_hours": 0}, "shadow_test_hours"),
        ({"shadow_test_hours": "a day"}, "shadow_test_hours"),
        ({"retrain_interval_days": -1}, "retrain_interval_days"),
        ({"min_improvement_threshold": -0.1}, "min_improvement_threshold"),
        ({"holdout_days": 0}, "holdout_days"),
        ({"purge_hours": float("nan")}, "purge_hours"),
        ({"retrain_after_candles": -5}, "retrain_after_candles"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        _manager(_at(120), **settings)


def test_unknown_models_are_refused_before_anything_is_done() -> None:
    with pytest.raises(UnknownModelType, match="prophet"):
        _manager(_at(120), models=("prophet",))
    client = _at(120)
    with pytest.raises(UnknownModelType, match="prophet"):
        _manager(client).run_full_cycle(["lightgbm", "prophet"])
    assert client.loads == 0


class TestTooFewCandles:
    def test_none_at_all(self) -> None:
        client = _at(120)
        client.now += timedelta(days=3000)

        with pytest.raises(InsufficientData, match="no candle between"):
            _manager(client).run_full_cycle()

    def test_none_of_late(self) -> None:
        client = FrameDataClient(CANDLES)
        client.now += timedelta(days=3)

        with pytest.raises(InsufficientData, match="newest candle closed at"):
            _manager(client).run_full_cycle()

    def test_a_history_too_short_says_how_many_candles_more_it_needs_and_with_them_is_enough(self) -> None:
        client = FrameDataClient(CANDLES)
        begins = CANDLES.index[-24 * 10]
        few = {"lightgbm": {"num_trees": 5, "min_data_in_leaf": 20}}
        client._candles = CANDLES.loc[begins:]

        with pytest.raises(InsufficientData, match="more candles") as refused:
            manager_over(client, trainer_params=few).run_full_cycle()
        more = int(re.findall(r"needs ([\d,]+) more", str(refused.value))[0].replace(",", ""))

        client._candles = CANDLES.loc[begins - (more - 1) * pd.Timedelta(hours=1) :]
        with pytest.raises(InsufficientData, match="needs 1 more"):
            manager_over(client, trainer_params=few).run_full_cycle()
        client._candles = CANDLES.loc[begins - more * pd.Timedelta(hours=1) :]
        assert manager_over(client, trainer_params=few).run_full_cycle().models_trained == ("lightgbm",)

    def test_too_few_to_train_on_for_gaps(self) -> None:
        kept = np.ones(len(CANDLES), dtype=np.bool_)
        # Every 180 candles one is missing: hardly a window is whole before the holdout.
        kept[: -24 * 33 : 180] = False

        report = _manager(FrameDataClient(CANDLES[kept])).run_full_cycle()

        assert "rows to train on" in report.failures["lightgbm"]

    def test_too_few_to_evaluate_on(self) -> None:
        hole = CANDLES.drop(CANDLES.index[-24 * 33 : -24])

        report = _manager(FrameDataClient(hole)).run_full_cycle()

        assert "needed to evaluate on" in report.failures["lightgbm"]


def test_same_candles_settings_and_seed_make_the_same_models() -> None:
    def made() -> tuple[str, bytes]:
        registry = DictRegistry(BTC)
        _manager(_at(120), registry).run_full_cycle()
        version = registry.get_active("lightgbm")
        assert version is not None
        assert version.model is not None
        return version.recipe_id, version.model.to_bytes()

    assert made() == made()


def test_another_lookback_or_parameter_is_another_recipe() -> None:
    def recipe(**more: Any) -> str:
        registry = DictRegistry(BTC)
        params = more.pop("trainer_params", FAST)
        manager_over(_at(120), registry, trainer_params=params, **more).run_full_cycle()
        version = registry.get_active("lightgbm")
        assert version is not None
        return version.recipe_id

    ours = recipe()
    assert ours == recipe()
    assert ours != recipe(training_lookback_days=80)
    assert ours != recipe(trainer_params={"lightgbm": {"num_trees": 6, "min_data_in_leaf": 100}})


def test_a_model_worse_than_zero_is_marked_as_such() -> None:
    registry = DictRegistry(BTC)
    overfitted = {"lightgbm": {"preset": "accurate", "num_trees": 60}}

    report = manager_over(_at(120), registry, trainer_params=overfitted).run_full_cycle()

    version = registry.get_active("lightgbm")
    gain = report.evaluations[0].metrics["r2"]
    assert version is not None
    assert gain is not None
    assert gain < 0
    assert version.notes == f"worse than forecasting zero on its holdout (R² {gain:+.3%})"
    assert np.isfinite(gain)
