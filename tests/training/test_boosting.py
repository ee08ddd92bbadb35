"""XGBoost and LightGBM: they learn, they are reproducible to the byte, and they refuse what is not theirs."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clm.core.domain import SCALE, TARGET
from clm.core.errors import ArtifactCorrupt, BadInput, InsufficientData, SchemaMismatch, TrainingFailed
from clm.core.plugins import model_family
from clm.training.boosting import LightGBMFamily, XGBoostFamily
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame
from tests.support.quick import REAL

FAMILIES = ("xgboost", "lightgbm")
PRESETS = ("regularised", "fast", "accurate")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", PRESETS[:2])
def test_a_learnable_signal_is_learnt(family: str, preset: str) -> None:
    frame = feature_frame(6000, signal=0.4)
    fit, unseen = frame.iloc[:5000], frame.iloc[5000:]

    model = QuantumModelTrainer().train(family, fit, {"preset": preset})

    error = unseen[TARGET] - model.predict(unseen)
    assert (error**2).sum() < 0.97 * (unseen[TARGET] ** 2).sum()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_gives_back_the_model_and_the_model_the_file(family: str, preset: str) -> None:
    frame = feature_frame(1200)
    model = QuantumModelTrainer(seed=3).train(family, frame, {"preset": preset, "min_data_in_leaf": 20})

    raw = model.to_bytes()
    back = model_family(family).from_bytes(raw)

    assert back.to_bytes() == raw
    assert np.array_equal(back.predict(frame), model.predict(frame))
    assert back.feature_names == model.feature_names == tuple(frame.columns.drop(TARGET))
    assert back.params == model.params
    assert back.params["seed"] == 3
    assert back.model_type == family


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_make_the_same_bytes(family: str) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from tests.support.frames import feature_frame;"
        "from clm.training.trainer import QuantumModelTrainer;"
        "import hashlib; model = QuantumModelTrainer(seed=7).train(sys.argv[2], feature_frame(2500));"
        "print(hashlib.sha256(model.to_bytes()).hexdigest())"
    )
    here = QuantumModelTrainer(seed=7).train(family, feature_frame(2500)).to_bytes()

    there = subprocess.run(
        [REAL, "-c", code, str(Path(__file__).parents[2]), family],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert there.stdout.split()[-1] == hashlib.sha256(here).hexdigest()


@pytest.mark.parametrize("family", FAMILIES)
def test_another_seed_makes_another_model(family: str) -> None:
    frame = feature_frame(2500)

    one, two = (QuantumModelTrainer(seed=s).train(family, frame).to_bytes() for s in (1, 2))

    assert one != two


@pytest.mark.parametrize("family", FAMILIES)
class TestFrames:
    """What `predict` accepts."""

    def test_a_missing_or_foreign_column_is_refused_by_name(self, family: str) -> None:
        frame = feature_frame(1500)
        model = QuantumModelTrainer().train(family, frame)

        with pytest.raises(SchemaMismatch, match="f3"):
            model.predict(frame.drop(columns="f3"))
        with pytest.raises(SchemaMismatch, match="surprise"):
            model.predict(frame.assign(surprise=1.0))

    def test_columns_are_matched_by_name_not_by_place(self, family: str) -> None:
        frame = feature_frame(1500)
        model = QuantumModelTrainer().train(family, frame)

        shuffled = frame[list(reversed(frame.columns))]

        assert np.array_equal(model.predict(shuffled), model.predict(frame))

    def test_a_value_that_is_not_finite_is_refused_with_its_place(self, family: str) -> None:
        frame = feature_frame(1500)
        model = QuantumModelTrainer().train(family, frame)
        frame.iloc[7, 2] = np.nan

        with pytest.raises(SchemaMismatch, match="f2 is not finite at 2024-01-01 07:00"):
            model.predict(frame)

    def test_the_target_changes_no_forecast(self, family: str) -> None:
        frame = feature_frame(1500)
        model = QuantumModelTrainer().train(family, frame)

        other = frame.assign(**{TARGET: np.nan})

        assert np.array_equal(model.predict(other), model.predict(frame.drop(columns=TARGET)))


@pytest.mark.parametrize("family", FAMILIES)
class TestParameters:
    """What a call may set."""

    @pytest.mark.parametrize(
        ("params", "said"),
        [
            ({"max_dept": 3}, "max_dept"),
            ({"max_depth": 0}, "from 1 to 16"),
            ({"max_depth": 2.5}, "whole number"),
            ({"learning_rate": "fast"}, "learning_rate"),
            ({"preset": "magic"}, "regularised, fast, accurate"),
            ({"target_scaling": 1}, "true or false"),
            ({"objective": "custom"}, "objective"),
        ],
    )
    def test_a_wrong_one_is_refused_with_what_is_allowed(
        self, family: str, params: dict[str, object], said: str
    ) -> None:
        with pytest.raises(BadInput, match=said):
            QuantumModelTrainer().train(family, feature_frame(500), params)

    @pytest.mark.parametrize(
        ("name", "most"),
        [
            ("num_trees", 5000), ("max_depth", 16), ("num_leaves", 4096), ("learning_rate", 1.0),
            ("max_bin", 1024), ("num_threads", 256),
        ],
    )  # fmt: skip
    def test_may_be_its_upper_bound_and_nothing_above(self, family: str, name: str, most: float) -> None:
        trees = model_family(family)

        assert isinstance(trees, XGBoostFamily | LightGBMFamily)
        assert most in trees.table.resolve({name: most}).values()
        with pytest.raises(BadInput, match=f"from .* to {most:g}"):
            QuantumModelTrainer().train(family, feature_frame(500), {name: most + 1})

    def test_a_calls_parameters_win_over_the_trainers_over_the_presets(self, family: str) -> None:
        trainer = QuantumModelTrainer(params={family: {"preset": "fast", "max_depth": 4, "num_trees": 7}})

        model = trainer.train(family, feature_frame(800), {"n_estimators": 9})
        assert (model.params["num_boost_round"], model.params["max_depth"]) == (9, 4)
        assert model.params["learning_rate"] == 0.05

    @pytest.mark.parametrize(
        ("preset", "guide"), [("fast", (100, 5, 0.05)), ("accurate", (1_000, 10, 0.01))], ids=PRESETS[1:]
    )
    def test_a_preset_is_the_guides_and_its_depth_alone_bounds_a_tree(
        self, family: str, preset: str, guide: tuple[int, int, float]
    ) -> None:
        trees = model_family(family)
        assert isinstance(trees, XGBoostFamily | LightGBMFamily)

        knobs = trees.table.resolve({"preset": preset})

        assert tuple(knobs[name] for name in ("num_boost_round", "max_depth", "learning_rate")) == guide
        assert knobs["max_leaves"] == 2 ** guide[1]

    def test_a_forest_without_a_split_is_a_failed_training(self, family: str) -> None:
        still = feature_frame(800).assign(**{TARGET: 0.0})

        with pytest.raises(TrainingFailed, match=r"no tree found a split in 800 rows with .*=500 and 28"):
            QuantumModelTrainer().train(family, still)

    @pytest.mark.parametrize("rows", [200, 336, 672, 1200])
    def test_a_leaf_too_large_for_the_rows_gives_way_and_the_recipe_stays_what_was_asked_for(
        self, family: str, rows: int
    ) -> None:
        frame = feature_frame(2500, signal=0.4).sample(rows, random_state=3)

        model: Any = QuantumModelTrainer().train(family, frame)

        assert model.adapted == {"min_data_in_leaf": (int(0.7 * rows) // 20, 500.0)}
        assert model.params["min_data_in_leaf"] == 500
        assert np.ptp(model.predict(frame)) > 0
        # Made again by what is stored of it: the same bytes.
        params = {name: value for name, value in model.params.items() if name != "seed"}
        assert QuantumModelTrainer().train(family, frame, params).to_bytes() == model.to_bytes()

    def test_a_leaf_that_finds_splits_is_kept_to_the_letter(self, family: str) -> None:
        model: Any = QuantumModelTrainer().train(family, feature_frame(2500))

        assert model.adapted == {}

    def test_scaling_needs_the_volatility_feature(self, family: str) -> None:
        frame = feature_frame(1500).drop(columns=SCALE)

        with pytest.raises(SchemaMismatch, match=SCALE):
            QuantumModelTrainer().train(family, frame)
        assert QuantumModelTrainer().train(
            family, frame, {"target_scaling": False, "min_data_in_leaf": 50}
        ).predict(frame).shape == (1500,)


@pytest.mark.parametrize("family", FAMILIES)
class TestFiles:
    """What is not our file is refused, never half read."""

    @pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.95, 0.9999])
    def test_a_cut_file(self, family: str, keep: float) -> None:
        raw = QuantumModelTrainer().train(family, feature_frame(1500)).to_bytes()

        with pytest.raises(ArtifactCorrupt):
            model_family(family).from_bytes(raw[: int(keep if keep >= 1 else keep * len(raw))])

    def test_the_other_familys_file(self, family: str) -> None:
        other = next(name for name in FAMILIES if name != family)
        raw = QuantumModelTrainer().train(other, feature_frame(1500)).to_bytes()

        with pytest.raises(ArtifactCorrupt):
            model_family(family).from_bytes(raw)

    def test_a_plain_library_file_without_our_metadata(self, family: str) -> None:
        model = QuantumModelTrainer().train(family, feature_frame(1500))
        raw = model.to_bytes().replace(b"clm", b"xyz")

        with pytest.raises(ArtifactCorrupt):
            model_family(family).from_bytes(raw)


def test_rows_without_an_outcome_are_not_trained_on() -> None:
    frame = feature_frame(1500)
    frame.loc[frame.index[1000:], TARGET] = np.nan

    cut = QuantumModelTrainer().train("lightgbm", frame, {"min_data_in_leaf": 50})

    whole = QuantumModelTrainer().train("lightgbm", frame.iloc[:1000], {"min_data_in_leaf": 50})
    assert cut.to_bytes() == whole.to_bytes()


def test_too_few_rows_and_a_frame_without_target_are_refused() -> None:
    with pytest.raises(InsufficientData, match="150 rows"):
        QuantumModelTrainer().train("lightgbm", feature_frame(150))
    with pytest.raises(BadInput, match="target"):
        QuantumModelTrainer().train("lightgbm", feature_frame(500).drop(columns=TARGET))


def test_the_short_forms_are_the_same_call() -> None:
    frame, trainer = feature_frame(1500), QuantumModelTrainer()

    assert trainer.train_xgboost(frame).to_bytes() == trainer.train("xgboost", frame).to_bytes()
    assert trainer.train_lightgbm(frame).to_bytes() == trainer.train("lightgbm", frame).to_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_forecasts_scale_with_the_volatility_of_their_hour(family: str) -> None:
    frame = feature_frame(3000, signal=0.5)
    model = QuantumModelTrainer().train(family, frame.drop(columns="f11").assign(f11=np.float32(0)))
    calm = frame.assign(f11=np.float32(0), **{SCALE: np.float32(0.001)})
    # The trees see the scale too; only where they do not split on it is the ratio exact.
    ratio = model.predict(calm.assign(**{SCALE: np.float32(0.0011)})) / model.predict(calm)

    assert np.median(ratio) == pytest.approx(1.1, rel=1e-4)


def test_library_versions_are_named() -> None:
    assert set(LightGBMFamily().library_versions()) == {"lightgbm", "numpy"}
