"""XGBoost and LightGBM through their native interfaces: one thread, seeded, bit-reproducible.

The default preset is the strongly regularised recipe: hourly returns carry so little signal that 500 deep
trees forecast worse than zero everywhere. `fast` and `accurate` are the guide's, for who wants them.
A model file is the library's own format with our metadata inside, so that it is one file with one hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

from clm.core.ambit import counter
from clm.core.domain import FeatureRow, FloatArray, FloatMatrix, ModelType, feature_columns
from clm.core.errors import ArtifactCorrupt, TrainingFailed
from clm.core.space import Range, Space
from clm.training import lightgbm_file, xgboost_file
from clm.training.forest import Forest, forest_of_lightgbm, forest_of_xgboost
from clm.training.knobs import Knob, KnobTable
from clm.training.metadata import Metadata
from clm.training.scaling import (
    contributed_returns,
    feature_matrix,
    forecast_returns,
    row_scale,
    shares,
    training_target,
)
from clm.training.seal import seal, unseal

_COMMON = (
    Knob("num_boost_round", int, 1, 5_000, ("n_estimators", "num_trees")),
    Knob("max_depth", int, 1, 16),
    Knob("max_leaves", int, 2, 4_096, ("num_leaves",)),
    Knob("learning_rate", float, 1e-4, 1, ("eta",)),
    Knob("lambda_l2", float, 0, 1e6, ("reg_lambda", "lambda")),
    Knob("lambda_l1", float, 0, 1e6, ("reg_alpha", "alpha")),
    Knob("feature_fraction", float, 0.01, 1, ("colsample_bytree",)),
    Knob("bagging_fraction", float, 0.01, 1, ("subsample",)),
    Knob("max_bin", int, 2, 1_024),
    Knob("min_data_in_leaf", float, 0, 1e6, ("min_child_weight", "min_child_samples")),
    Knob("target_scaling", bool),
    Knob("target_clip", float, 0.1, 100),
    Knob("num_threads", int, 1, 256, ("nthread", "n_jobs")),
)
_SHARED: Mapping[str, float | int | bool] = {"lambda_l1": 0.0, "target_clip": 4.0, "num_threads": 1}
_PRESETS: Mapping[str, Mapping[str, float | int | bool]] = {
    "regularised": {
        **_SHARED, "num_boost_round": 50, "max_depth": 3, "max_leaves": 8, "learning_rate": 0.02,
        "lambda_l2": 50.0, "feature_fraction": 0.3, "bagging_fraction": 0.7, "max_bin": 63,
        "min_data_in_leaf": 500.0, "target_scaling": True,
    },
    "fast": {
        **_SHARED, "num_boost_round": 100, "max_depth": 5, "max_leaves": 32, "learning_rate": 0.05,
        "lambda_l2": 1.0, "feature_fraction": 0.8, "bagging_fraction": 0.8, "max_bin": 63,
        "min_data_in_leaf": 20.0, "target_scaling": False,
    },
    "accurate": {
        **_SHARED, "num_boost_round": 1_000, "max_depth": 10, "max_leaves": 1_024, "learning_rate": 0.01,
        "lambda_l2": 1.0, "feature_fraction": 0.8, "bagging_fraction": 0.8, "max_bin": 63,
        "min_data_in_leaf": 20.0, "target_scaling": False,
    },
}  # fmt: skip
#: Around the regularised recipe: at most twice its trees, none deeper than 8 leaves allow.
_SPACE: Space = {
    "num_boost_round": Range(20, 100, log=True, whole=True),
    "max_depth": Range(2, 4, whole=True),
    "learning_rate": Range(0.005, 0.05, log=True),
    "lambda_l2": Range(1, 500, log=True),
    "feature_fraction": Range(0.1, 0.6),
    "bagging_fraction": Range(0.4, 1),
    "min_data_in_leaf": Range(100, 1_000, log=True, whole=True),
}

#: Of a tree whose rows are too few for the leaves asked for.
_LEAVES = 20

#: LightGBM sorts so many rows a bin to find a feature's bins; edges are no better for more. See decision 25.
ROWS_PER_BIN = 64


class _Boosted:
    """What both kinds of model have in common: everything but the booster.

    adapted: of one that was just trained, the parameters that gave way, by name: what was used, what was
    asked for. No part of the file, whose parameters are those asked for.
    """

    adapted: Mapping[str, tuple[float, float]] = MappingProxyType({})

    def _grown(self) -> Forest:
        """The booster as flat arrays."""
        raise NotImplementedError

    @cached_property
    def _forest(self) -> Forest:
        return self._grown()

    def __init__(self, booster: Any, metadata: Metadata) -> None:
        self._booster = booster
        self._metadata = metadata

    @property
    def model_type(self) -> str:
        return self._metadata.model_type

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self._metadata.feature_names

    @property
    def params(self) -> Mapping[str, Any]:
        return self._metadata.params

    def predict_row(self, row: FeatureRow) -> float:
        scale = row_scale(row, self.feature_names, self.params)
        return self._forest.predict_row(row) * scale


class XGBoostModel(_Boosted):
    """An XGBoost booster and its metadata; the file is UBJSON with the metadata as an attribute."""

    suffix = ".ubj"

    def predict(self, df: pd.DataFrame) -> FloatArray:
        matrix = feature_matrix(df, self.feature_names)
        return forecast_returns(self._booster.inplace_predict(matrix), df, self.params)

    def _grown(self) -> Forest:
        return forest_of_xgboost(bytes(self._booster.save_raw("json")))

    def contributions(self, df: pd.DataFrame) -> tuple[FloatArray, FloatMatrix]:
        matrix = feature_matrix(df, self.feature_names)
        shap = self._booster.predict(xgb.DMatrix(matrix, nthread=1), pred_contribs=True)
        return contributed_returns(self._booster.inplace_predict(matrix), shap, df, self.params)

    def gains(self) -> FloatArray:
        found = self._booster.get_score(importance_type="total_gain")
        return shares(np.array([found.get(f"f{i}", 0.0) for i in range(len(self.feature_names))]))

    def to_bytes(self) -> bytes:
        return seal(bytes(self._booster.save_raw("ubj")))


class LightGBMModel(_Boosted):
    """A LightGBM booster and its metadata; the file is LightGBM's text with one line of ours."""

    suffix = ".txt"

    def predict(self, df: pd.DataFrame) -> FloatArray:
        matrix = feature_matrix(df, self.feature_names)
        return forecast_returns(self._booster.predict(matrix, num_threads=1), df, self.params)

    def _grown(self) -> Forest:
        return forest_of_lightgbm(self._booster.dump_model())

    def contributions(self, df: pd.DataFrame) -> tuple[FloatArray, FloatMatrix]:
        matrix = feature_matrix(df, self.feature_names)
        shap = self._booster.predict(matrix, pred_contrib=True, num_threads=1)
        return contributed_returns(self._booster.predict(matrix, num_threads=1), shap, df, self.params)

    def gains(self) -> FloatArray:
        return shares(self._booster.feature_importance("gain"))

    def to_bytes(self) -> bytes:
        text: str = self._booster.model_to_string()
        head, mark, tail = text.rpartition(_TAIL)
        return seal(f"{head}{lightgbm_file.METADATA}{self._metadata.to_json()}\n{mark}{tail}".encode())


_TAIL = "pandas_categorical:"
_Booster = TypeVar("_Booster")
_Model = TypeVar("_Model", bound=_Boosted)


class XGBoostFamily:
    """Gradient boosting by XGBoost, `hist` trees."""

    name = str(ModelType.XGBOOST)
    table = KnobTable(name, _COMMON, _PRESETS)

    def check(self, params: Mapping[str, Any]) -> None:
        """See `CheckingFamily`."""
        self.table.resolve(params)

    def train(self, df: pd.DataFrame, params: Mapping[str, Any], seed: int) -> XGBoostModel:
        return self.train_binned(self.bins(df, params), df, params, seed)

    def bins(self, df: pd.DataFrame, params: Mapping[str, Any]) -> xgb.DMatrix:
        """See `BinningFamily`."""
        knobs = self.table.resolve(params)
        try:
            return xgb.QuantileDMatrix(
                feature_matrix(df, feature_columns(df.columns)), max_bin=int(knobs["max_bin"]),
                nthread=knobs["num_threads"],
            )  # fmt: skip
        except (xgb.core.XGBoostError, ValueError, MemoryError) as exc:
            raise TrainingFailed(f"xgboost: {exc}") from exc

    def train_binned(
        self, bins: xgb.DMatrix, df: pd.DataFrame, params: Mapping[str, Any], seed: int
    ) -> XGBoostModel:
        """See `BinningFamily`."""
        knobs = self.table.resolve(params)
        names = tuple(feature_columns(df.columns))
        label = training_target(df, knobs)
        settings = {
            "objective": "reg:squarederror", "tree_method": "hist", "seed": seed, "verbosity": 0,
            "max_depth": knobs["max_depth"], "max_leaves": knobs["max_leaves"],
            "learning_rate": knobs["learning_rate"], "reg_lambda": knobs["lambda_l2"],
            "reg_alpha": knobs["lambda_l1"], "colsample_bytree": knobs["feature_fraction"],
            "subsample": knobs["bagging_fraction"], "max_bin": knobs["max_bin"],
            # For squared error the hessian is 1 per row: this *is* the least number of rows in a leaf.
            "min_child_weight": knobs["min_data_in_leaf"], "nthread": knobs["num_threads"],
            # A scaled return's best constant is zero; an intercept would bet on the past's drift.
            "base_score": 0.0,
        }  # fmt: skip

        def grown(leaf: float) -> xgb.Booster | None:
            rounds = int(knobs["num_boost_round"])
            count = counter(rounds, "rounds")
            heard = [_XGBoostRounds(count)] if count else None
            given = {**settings, "min_child_weight": leaf}
            booster = xgb.train(given, bins, num_boost_round=rounds, callbacks=heard)
            return booster if booster.get_score(importance_type="weight") else None

        try:
            bins.set_label(label)
            booster, adapted = _grown_for(self.name, grown, len(df), knobs)
        except (xgb.core.XGBoostError, ValueError, MemoryError) as exc:
            raise TrainingFailed(f"xgboost: {exc}") from exc
        metadata = Metadata(self.name, names, {**knobs, "seed": seed})
        booster.set_attr(clm=metadata.to_json())
        return _told(XGBoostModel(booster, metadata), adapted)

    def from_bytes(self, raw: bytes) -> XGBoostModel:
        payload = unseal(raw, self.name)
        try:
            metadata = Metadata.from_json(*xgboost_file.require_sound(payload), self.name)
            booster = xgb.Booster({"nthread": 1}, model_file=bytearray(payload))
        except (xgb.core.XGBoostError, ValueError) as exc:
            raise ArtifactCorrupt(f"xgboost: the file cannot be read: {_first_line(exc)}") from exc
        return XGBoostModel(booster, metadata)

    def library_versions(self) -> Mapping[str, str]:
        return {"xgboost": xgb.__version__, "numpy": np.__version__}

    def space(self) -> Space:
        return _SPACE


class LightGBMFamily:
    """Gradient boosting by LightGBM."""

    name = str(ModelType.LIGHTGBM)
    table = KnobTable(name, _COMMON, _PRESETS)

    def check(self, params: Mapping[str, Any]) -> None:
        """See `CheckingFamily`."""
        self.table.resolve(params)

    def train(self, df: pd.DataFrame, params: Mapping[str, Any], seed: int) -> LightGBMModel:
        return self.train_binned(self.bins(df, params), df, params, seed)

    def bins(self, df: pd.DataFrame, params: Mapping[str, Any]) -> lgb.Dataset:
        """See `BinningFamily`. They are made with the first training, which knows all it wants of them."""
        return lgb.Dataset(feature_matrix(df, feature_columns(df.columns)), params={"verbosity": -1})

    def train_binned(
        self, bins: lgb.Dataset, df: pd.DataFrame, params: Mapping[str, Any], seed: int
    ) -> LightGBMModel:
        """See `BinningFamily`."""
        knobs = self.table.resolve(params)
        names = tuple(feature_columns(df.columns))
        label = training_target(df, knobs)
        settings = {
            "objective": "regression", "boost_from_average": False, "seed": seed, "verbosity": -1,
            # A tree uses a third of the features: column by column is quicker, and adds up the same. Features
            # are dense: looking for some that could share a column costs a fifth of the bins for nothing.
            "deterministic": True, "force_col_wise": True, "enable_bundle": False,
            "bin_construct_sample_cnt": ROWS_PER_BIN * int(knobs["max_bin"]),
            "max_depth": knobs["max_depth"], "num_leaves": knobs["max_leaves"],
            "learning_rate": knobs["learning_rate"], "lambda_l2": knobs["lambda_l2"],
            "lambda_l1": knobs["lambda_l1"], "feature_fraction": knobs["feature_fraction"],
            # LightGBM ignores the fraction unless the frequency is set.
            "bagging_fraction": knobs["bagging_fraction"], "bagging_freq": 1,
            "max_bin": knobs["max_bin"], "min_data_in_leaf": int(knobs["min_data_in_leaf"]),
            "num_threads": knobs["num_threads"],
        }  # fmt: skip

        def grown(leaf: float) -> lgb.Booster | None:
            rounds = int(knobs["num_boost_round"])
            count = counter(rounds, "rounds")
            heard = [_lightgbm_rounds(count)] if count else None
            # Bins leave out features that no leaf of the size they were made for can be split by.
            own = bins if leaf == knobs["min_data_in_leaf"] else self.bins(df, params)
            own.set_label(label)
            given = {**settings, "min_data_in_leaf": int(leaf)}
            booster = lgb.train(given, own, num_boost_round=rounds, callbacks=heard)
            return booster if booster.feature_importance("split").any() else None

        try:
            booster, adapted = _grown_for(self.name, grown, len(df), knobs)
        except (lgb.basic.LightGBMError, ValueError, MemoryError) as exc:
            raise TrainingFailed(f"lightgbm: {exc}") from exc
        model = LightGBMModel(booster, Metadata(self.name, names, {**knobs, "seed": seed}))
        return _told(model, adapted)

    def from_bytes(self, raw: bytes) -> LightGBMModel:
        payload = unseal(raw, self.name)
        try:
            metadata = Metadata.from_json(*lightgbm_file.require_sound(payload), self.name)
            booster = lgb.Booster(model_str=payload.decode())
        except (lgb.basic.LightGBMError, ValueError) as exc:
            raise ArtifactCorrupt(f"lightgbm: the file cannot be read: {_first_line(exc)}") from exc
        return LightGBMModel(booster, metadata)

    def library_versions(self) -> Mapping[str, str]:
        return {"lightgbm": lgb.__version__, "numpy": np.__version__}

    def space(self) -> Space:
        return _SPACE


class _XGBoostRounds(xgb.callback.TrainingCallback):
    """Counts rounds; changes nothing."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__()
        self._count = count

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._count(epoch + 1)
        return False


def _lightgbm_rounds(count: Callable[[int], None]) -> Callable[[Any], None]:
    def after(env: Any) -> None:
        count(env.iteration + 1)

    return after


def _grown_for(
    family: str, grown: Callable[[float], _Booster | None], rows: int, knobs: Mapping[str, Any]
) -> tuple[_Booster, Mapping[str, tuple[float, float]]]:
    """A forest with splits, and what of the parameters gave way for it to find any.

    The leaf asked for comes first, so that whatever it is enough for comes out as it always did; where no
    tree can be split with it, a leaf is a twentieth of the rows a tree sees. A forest of bare roots forecasts
    zero for ever: it raises TrainingFailed.
    """
    asked = float(knobs["min_data_in_leaf"])
    less = float(max(1, int(rows * knobs["bagging_fraction"]) // _LEAVES))
    leaves = (asked, less) if less < asked else (asked,)
    for leaf in leaves:
        found = grown(leaf)
        if found is not None:
            return found, {} if leaf == asked else {"min_data_in_leaf": (leaf, asked)}
    tried = " and ".join(f"{leaf:g}" for leaf in leaves)
    raise TrainingFailed(
        f"{family}: no tree found a split in {rows} rows with min_data_in_leaf={tried}; train on more "
        "candles (training_lookback_days) or lower it"
    )


def _told(model: _Model, adapted: Mapping[str, tuple[float, float]]) -> _Model:
    model.adapted = adapted
    return model


def _first_line(exc: Exception) -> str:
    text = str(exc).strip()
    return text.splitlines()[0] if text else type(exc).__name__
