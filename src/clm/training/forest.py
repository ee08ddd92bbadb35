"""A boosted forest as flat arrays: one row forecast in some twenty microseconds, all trees a level at a time.

The libraries' own one-row calls spend most of their time on the way in (0.07 ms LightGBM, 0.4 ms XGBoost).
Same comparisons on the same numbers; only the order in which the leaves are added up is ours, so that answers
agree within float32 rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clm.core.domain import FeatureRow

Indices = np.ndarray[tuple[int], np.dtype[np.intp]]
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees, one after the other. A leaf is its own child: all trees take as many steps.

    feature, threshold, left, right, value: per node; a row goes left where x < threshold (LightGBM's x ≤ t
    is x < the next double). roots: per tree. depth: of the deepest.
    """

    feature: Indices
    threshold: Values
    left: Indices
    right: Indices
    value: Values
    roots: Indices
    depth: int

    def predict_row(self, row: FeatureRow) -> float:
        """The sum over the trees for one row, float32 of shape (n_features,), all finite."""
        node = self.roots
        for _ in range(self.depth):
            goes_left = row.take(self.feature.take(node)) < self.threshold.take(node)
            node = np.where(goes_left, self.left.take(node), self.right.take(node))
        return float(self.value.take(node).sum())


class _Builder:
    def __init__(self) -> None:
        self._nodes: list[list[float]] = []
        self._roots: list[int] = []
        self._depth = 0

    def leaf(self, value: float) -> int:
        at = len(self._nodes)
        self._nodes.append([0, np.inf, at, at, value])
        return at

    def split(self, feature: int, threshold: float) -> int:
        at = len(self._nodes)
        self._nodes.append([feature, threshold, at, at, 0.0])
        return at

    def join(self, parent: int, left: int, right: int) -> None:
        self._nodes[parent][2:4] = left, right

    def root(self, at: int, depth: int) -> None:
        self._roots.append(at)
        self._depth = max(self._depth, depth)

    def forest(self) -> Forest:
        feature, threshold, left, right, value = (
            np.array(column) for column in zip(*self._nodes, strict=True)
        )
        return Forest(
            feature.astype(np.intp), threshold.astype(np.float64), left.astype(np.intp),
            right.astype(np.intp), value.astype(np.float64), np.array(self._roots, dtype=np.intp),
            self._depth,
        )  # fmt: skip


def forest_of_xgboost(raw_json: bytes) -> Forest:
    """From `Booster.save_raw("json")`: `gbtree` with numerical splits and base score zero."""
    trees = json.loads(raw_json)["learner"]["gradient_booster"]["model"]["trees"]
    built = _Builder()
    for tree in trees:
        _xgboost_tree(built, tree)
    return built.forest()


def _xgboost_tree(built: _Builder, tree: Mapping[str, Sequence[Any]]) -> None:
    left, right, feature = tree["left_children"], tree["right_children"], tree["split_indices"]
    # A split's condition is its threshold, a leaf's is its value; both were float32.
    condition = np.asarray(tree["split_conditions"], dtype=np.float32)
    at, depth = {}, {0: 0}
    for node in range(len(left)):
        is_leaf = left[node] < 0
        value = float(condition[node])
        at[node] = built.leaf(value) if is_leaf else built.split(int(feature[node]), value)
    waiting = [0]
    while waiting:
        node = waiting.pop()
        if left[node] >= 0:
            built.join(at[node], at[left[node]], at[right[node]])
            for child in (left[node], right[node]):
                depth[child] = depth[node] + 1
                waiting.append(child)
    built.root(at[0], max(depth.values()))


def forest_of_lightgbm(dump: Mapping[str, Any]) -> Forest:
    """From `Booster.dump_model()`: numerical splits."""
    built = _Builder()
    for info in dump["tree_info"]:
        deepest = 0
        tree = info["tree_structure"]
        root = _lightgbm_node(built, tree)
        waiting = [(root, tree, 0)]
        while waiting:
            parent, node, depth = waiting.pop()
            deepest = max(deepest, depth)
            if "left_child" in node:
                children = (node["left_child"], node["right_child"])
                at = [_lightgbm_node(built, child) for child in children]
                built.join(parent, *at)
                waiting += [(place, child, depth + 1) for place, child in zip(at, children, strict=True)]
        built.root(root, deepest)
    return built.forest()


def _lightgbm_node(built: _Builder, node: Mapping[str, Any]) -> int:
    if "left_child" not in node:
        return built.leaf(float(node["leaf_value"]))
    # x ≤ t is x < the double that follows t.
    return built.split(int(node["split_feature"]), float(np.nextafter(float(node["threshold"]), np.inf)))
