"""What forecasts are made of: exact to the last bit that matters, in log return, and not invented."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core.errors import NotExplainable, SchemaMismatch
from clm.core.plugins import model_family
from clm.core.protocols import ExplainedModel, TreeModel
from clm.training.scaling import contributed_returns
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame
from tests.support.versions import small_model

FAMILIES = ("xgboost", "lightgbm")
FRAME = feature_frame(3000)
PARAMS: tuple[dict[str, Any], ...] = (
    {"min_data_in_leaf": 50},
    {"preset": "fast"},
    {"preset": "accurate", "num_boost_round": 30},
    {"target_scaling": False, "min_data_in_leaf": 50},
    {"num_boost_round": 1, "max_depth": 1, "min_data_in_leaf": 50},
)


def _model(family: str, params: dict[str, Any], frame: pd.DataFrame = FRAME) -> Any:
    return QuantumModelTrainer(seed=1).train(family, frame, params)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("params", PARAMS)
def test_base_and_parts_add_up_to_every_forecast(family: str, params: dict[str, Any]) -> None:
    model = _model(family, params)

    rows = FRAME.iloc[::3]
    base, parts = model.contributions(rows)

    assert isinstance(model, ExplainedModel)
    assert (base.shape, parts.shape) == ((1000,), (1000, len(model.feature_names)))
    forecast = model.predict(rows)
    assert np.abs(base + parts.sum(axis=1) - forecast).max() <= 1e-12 * np.abs(forecast).max()
    assert (np.abs(base + parts.sum(axis=1) - forecast) <= 1e-6 * np.abs(forecast)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_shapley_values_of_the_trees(family: str) -> None:
    """By the definition: over all subsets of three features, with the trees' own covers."""
    frame = feature_frame(2000, 2, signal=0.5)
    model = _model(
        family,
        {"num_trees": 6, "max_depth": 3, "min_data_in_leaf": 40, "feature_fraction": 1.0,
         "target_scaling": False},
        frame,
    )  # fmt: skip
    trees = _trees_of(family, model)
    rows = frame.iloc[[0, 700, 1999]]

    base, parts = model.contributions(rows)

    for at, row in enumerate(rows[list(model.feature_names)].to_numpy(dtype=np.float64)):
        expected = [
            sum(_shapley(tree, row, feature, len(row)) for tree in trees) for feature in range(len(row))
        ]
        assert parts[at] == pytest.approx(expected, rel=1e-4, abs=1e-9)
        assert base[at] == pytest.approx(sum(_expected(tree, row, ()) for tree in trees), rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_feature_no_tree_splits_on_has_no_part(family: str) -> None:
    frame = FRAME.assign(f3=np.float32(1.0))

    _, parts = _model(family, {"min_data_in_leaf": 50}, frame).contributions(frame)

    assert (parts[:, 3] == 0).all()
    assert np.abs(parts).mean(axis=0).argmax() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_explained_alike_alone_and_among_others(family: str) -> None:
    model = _model(family, {"min_data_in_leaf": 50})

    alone, among = model.contributions(FRAME.iloc[[77]]), model.contributions(FRAME.iloc[70:90])

    assert np.array_equal(alone[1][0], among[1][7])
    assert alone[0][0] == among[0][7]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_was_loaded_explains_as_the_one_that_was_trained(family: str) -> None:
    model = _model(family, {"preset": "fast"})
    back: Any = model_family(family).from_bytes(model.to_bytes())

    assert np.array_equal(back.contributions(FRAME)[1], model.contributions(FRAME)[1])
    assert np.array_equal(back.gains(), model.gains())


@pytest.mark.parametrize("family", FAMILIES)
def test_gains_are_shares_by_feature(family: str) -> None:
    model = _model(family, {"min_data_in_leaf": 50})

    gains = model.gains()

    assert isinstance(model, TreeModel)
    assert gains.shape == (len(model.feature_names),)
    assert gains.sum() == pytest.approx(1.0)
    assert gains.argmax() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frame_that_is_not_the_models_is_refused_as_for_a_forecast(family: str) -> None:
    with pytest.raises(SchemaMismatch, match="f3"):
        _model(family, {"min_data_in_leaf": 50}).contributions(FRAME.drop(columns="f3"))


def test_values_that_miss_more_than_rounding_are_no_explanation() -> None:
    frame = FRAME.iloc[:2]
    shap = np.array([[0.2, 0.1, 0.0], [0.2, 0.1, 0.0]])

    with pytest.raises(NotExplainable, match="do not add up"):
        contributed_returns(np.array([0.3, 0.31]), shap, frame, {"target_scaling": False})


def test_a_forecast_of_nothing_has_parts_of_nothing() -> None:
    base, parts = contributed_returns(np.zeros(2), np.zeros((2, 3)), FRAME.iloc[:2], {"target_scaling": True})

    assert (base == 0).all()
    assert (parts == 0).all()


def test_a_family_may_do_without() -> None:
    assert not isinstance(small_model("sklearn_ridge"), ExplainedModel)


Tree = dict[str, Any]


def _trees_of(family: str, model: Any) -> list[Tree]:
    """Trees as nested dicts: feature, threshold, left, right, cover, value."""
    if family == "lightgbm":
        return [_lightgbm(info["tree_structure"]) for info in model._booster.dump_model()["tree_info"]]
    dump = model._booster.trees_to_dataframe()
    return [_xgboost(part.set_index("ID"), part.iloc[0]["ID"]) for _, part in dump.groupby("Tree")]


def _lightgbm(node: Tree) -> Tree:
    if "left_child" not in node:
        return {"value": node["leaf_value"], "cover": node.get("leaf_count", node.get("leaf_weight", 0))}
    return {
        "feature": node["split_feature"], "threshold": np.nextafter(node["threshold"], np.inf),
        "left": _lightgbm(node["left_child"]), "right": _lightgbm(node["right_child"]),
        "cover": node["internal_count"],
    }  # fmt: skip


def _xgboost(nodes: pd.DataFrame, name: str) -> Tree:
    node = nodes.loc[name]
    if node["Feature"] == "Leaf":
        return {"value": node["Gain"], "cover": node["Cover"]}
    return {
        "feature": int(node["Feature"].removeprefix("f")), "threshold": node["Split"],
        "left": _xgboost(nodes, node["Yes"]), "right": _xgboost(nodes, node["No"]), "cover": node["Cover"],
    }  # fmt: skip


def _expected(tree: Tree, row: Any, known: tuple[int, ...]) -> float:
    """What a tree answers where only some features are known: both ways by their covers where not."""
    if "value" in tree:
        return float(tree["value"])
    left, right = tree["left"], tree["right"]
    if tree["feature"] in known:
        return _expected(left if row[tree["feature"]] < tree["threshold"] else right, row, known)
    both = left["cover"] * _expected(left, row, known) + right["cover"] * _expected(right, row, known)
    return float(both / (left["cover"] + right["cover"]))


def _shapley(tree: Tree, row: Any, feature: int, count: int) -> float:
    others = [i for i in range(count) if i != feature]
    total = 0.0
    for size in range(count):
        weight = factorial(size) * factorial(count - size - 1) / factorial(count)
        for known in combinations(others, size):
            total += weight * (_expected(tree, row, (*known, feature)) - _expected(tree, row, known))
    return total
