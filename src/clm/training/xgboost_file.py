"""Is this payload a forest as `XGBoostFamily` trains it? Looked at in full before XGBoost sees a byte.

Only what our trainings make is let through: numeric splits, one output, squared error. Everything XGBoost
indexes with is held against the arrays it indexes. A part nobody here knows is a reason to refuse as well.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from clm.training import ubjson
from clm.training.soundness import Ints, once_for_each_file, require_answer, require_finite, require_tree

_OPTIONAL = frozenset({"cats"})
_FLOATS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
_INTS = ("left_children", "right_children", "parents", "split_indices")
_FLAGS = ("default_left", "split_type")
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
#: XGBoost's mark for "none": of a leaf's children, and of the root's parent.
_NO_CHILD, _NO_PARENT = -1, 2**31 - 1


@once_for_each_file
def require_sound(payload: bytes) -> tuple[str, int]:
    """The CLM metadata the file carries and the number of its features. Raises ValueError with a sentence."""
    document = _object(ubjson.read(payload), "the file", "learner", "version")
    learner = _object(
        document["learner"], "learner", "attributes", "feature_names", "feature_types", "gradient_booster",
        "learner_model_param", "objective",
    )  # fmt: skip
    metadata = _object(learner["attributes"], "attributes", "clm")["clm"]
    if not isinstance(metadata, str):
        raise ValueError("the CLM metadata are no text")  # noqa: TRY004  # one kind of error for who calls
    _same(learner["feature_names"], [], "feature_names")
    _same(learner["feature_types"], [], "feature_types")
    objective = _object(learner["objective"], "objective", "name", "reg_loss_param")
    _same(objective, {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}, "objective")
    features, base = _learner_params(learner["learner_model_param"])
    _forest(learner["gradient_booster"], features, base)
    return metadata, features


def _learner_params(value: Any) -> tuple[int, float]:
    names = ("base_score", "boost_from_average", "num_class", "num_feature", "num_target")
    params = _object(value, "learner_model_param", *names)
    _same([params["num_class"], params["num_target"]], ["0", "1"], "num_class, num_target")
    if str(params["boost_from_average"]) not in ("0", "1"):
        raise ValueError("boost_from_average is neither 0 nor 1")
    base = re.fullmatch(r"\[?(-?\d{1,20}(?:\.\d{1,20})?(?:E-?\d{1,2})?)\]?", str(params["base_score"]))
    if base is None:
        raise ValueError("base_score is no number")
    return _count(params["num_feature"], "num_feature"), float(base[1])


def _forest(value: Any, features: int, base: float) -> None:
    booster = _object(value, "gradient_booster", "model", "name")
    _same(booster["name"], "gbtree", "the booster")
    model = _object(
        booster["model"], "model", "cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"
    )
    if "cats" in model:
        cats = _object(model["cats"], "cats", "enc", "feature_segments", "sorted_idx")
        _same(cats["enc"], [], "cats")
        _array(cats["feature_segments"], "feature_segments", ">i4", 0)
        _array(cats["sorted_idx"], "sorted_idx", ">i4", 0)
    params = _object(model["gbtree_model_param"], "gbtree_model_param", "num_parallel_tree", "num_trees")
    _same(params["num_parallel_tree"], "1", "num_parallel_tree")
    trees, count = model["trees"], _count(params["num_trees"], "num_trees")
    if not isinstance(trees, list) or len(trees) != count:
        raise ValueError(f"there are not {count} trees")
    _same(model["tree_info"], [0] * count, "tree_info")
    _same(model["iteration_indptr"], list(range(count + 1)), "iteration_indptr")
    require_answer(base, [_tree(tree, number, features) for number, tree in enumerate(trees)])


def _tree(value: Any, number: int, features: int) -> float:
    """The tree's largest leaf, without sign."""
    tree = _object(value, f"tree {number}", "id", "tree_param", *_FLOATS, *_INTS, *_FLAGS, *_CATEGORIES)
    _same(tree["id"], number, "a tree's id")
    params = _object(
        tree["tree_param"], "tree_param", "num_deleted", "num_feature", "num_nodes", "size_leaf_vector"
    )
    _same(params["num_deleted"], "0", "num_deleted")
    _same(params["size_leaf_vector"], "1", "size_leaf_vector")
    if _count(params["num_feature"], "num_feature") != features:
        raise ValueError("its trees disagree on the number of features")
    nodes = _count(params["num_nodes"], "num_nodes")
    for names, dtype in ((_FLOATS, ">f4"), (_INTS, ">i4"), (_FLAGS, ">u1")):
        for name in names:
            _array(tree[name], name, dtype, nodes)
    for name in _FLOATS:
        require_finite(tree[name], name)
    for name in _CATEGORIES:
        _array(tree[name], name, ">i8" if name.endswith(("segments", "sizes")) else ">i4", 0)
    if tree["split_type"].any() or (tree["default_left"] > 1).any():
        raise ValueError("a split is not numeric")
    if ((tree["split_indices"] < 0) | (tree["split_indices"] >= features)).any():
        raise ValueError(f"a split asks for a feature beyond the {features} there are")
    leaves = _links(tree["left_children"], tree["right_children"], tree["parents"], nodes)
    return float(np.abs(tree["split_conditions"][leaves]).max())


def _links(left: Ints, right: Ints, parents: Ints, nodes: int) -> Ints:
    """Which nodes are leaves."""
    leaves = left == _NO_CHILD
    if not np.array_equal(leaves, right == _NO_CHILD):
        raise ValueError("a node has one child")
    inner = np.flatnonzero(~leaves)
    children = np.concatenate((left[inner], right[inner]))
    above = np.concatenate((inner, inner))
    require_tree(above, children, nodes)
    told = np.full(nodes, _NO_PARENT, dtype=np.int64)
    told[children] = above
    if not np.array_equal(told, parents):
        raise ValueError("a node names another parent than its own")
    return np.flatnonzero(leaves)


def _object(value: Any, what: str, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")  # noqa: TRY004  # one kind of error for who calls
    missing = set(names) - set(value) - _OPTIONAL
    unknown = set(value) - set(names)
    if missing or unknown:
        parts = ", ".join(repr(name) for name in sorted(missing or unknown)[:3])
        raise ValueError(f"{what} {'lacks' if missing else 'holds the unknown part'} {parts}")
    return value


def _same(value: Any, expected: Any, what: str) -> None:
    if isinstance(value, np.ndarray) or value != expected:
        raise ValueError(f"{what}: not as CLM trains it")


def _count(value: Any, what: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[1-9]\d{0,8}", value):
        raise ValueError(f"{what} is no positive number")
    return int(value)


def _array(value: Any, name: str, dtype: str, length: int) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype(dtype) or len(value) != length:
        raise ValueError(f"{name} is no array of {length}")
