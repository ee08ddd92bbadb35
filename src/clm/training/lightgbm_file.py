"""Is this payload a forest as `LightGBMFamily` trains it? Looked at in full before LightGBM sees a byte.

The file is text, line by line in a fixed order. LightGBM jumps by the lengths in `tree_sizes`, indexes with
whatever the trees say and follows a path that leads in a circle for ever; so lengths are measured, indices
held against what they index, and only numeric splits let through. An unknown line is a reason to refuse.
"""

from __future__ import annotations

import re

import numpy as np

from clm.training.soundness import (
    Floats,
    Ints,
    once_for_each_file,
    require_answer,
    require_finite,
    require_tree,
)

METADATA = "clm_metadata:"
_NUMBER = r"-?\d{1,40}(?:\.\d{1,40})?(?:e[+-]?\d{1,3})?"
_FLOATS = re.compile(rf"(?:{_NUMBER}(?: {_NUMBER})*)?")
_INTS = re.compile(r"(?:-?\d{1,10}(?: -?\d{1,10})*)?")
_RANGE = re.compile(rf"none|\[{_NUMBER}:{_NUMBER}\]")
_PARAMETER = re.compile(r"\[[a-z0-9_]+: [A-Za-z0-9_.,+ -]*\]")
_IMPORTANCE = re.compile(r"Column_\d{1,9}=\d{1,9}")
#: decision_type of a numeric split: bit 0, categorical, is clear; then default left, and the kind of missing.
_NUMERIC_SPLITS = (0, 2, 4, 6, 8, 10)
_HEAD = ("tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0")


class _Lines:
    """The file's lines, one after the other."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0
        #: Characters read so far, line ends included.
        self.position = 0

    def take(self) -> str:
        if self._at == len(self._lines):
            raise ValueError("it ends too early")
        line = self._lines[self._at]
        self._at += 1
        self.position += len(line) + 1
        return line

    def expect(self, *wanted: str) -> None:
        """The next lines are exactly these."""
        for line in wanted:
            found = self.take()
            if found != line:
                raise ValueError(f"line {self._at} reads {found[:40]!r}, not {line!r}")

    def field(self, name: str) -> str:
        """What follows `name=` in the next line."""
        found = self.take()
        if not found.startswith(f"{name}="):
            raise ValueError(f"line {self._at} reads {found[:40]!r}, not {name}=…")
        return found[len(name) + 1 :]

    def block(self, pattern: re.Pattern[str]) -> None:
        """Lines of one kind, up to and with an empty one."""
        while line := self.take():
            if not pattern.fullmatch(line):
                raise ValueError(f"line {self._at} reads {line[:40]!r}")

    def floats(self, name: str, count: int) -> Floats:
        text = self.field(name)
        if not _FLOATS.fullmatch(text):
            raise ValueError(f"{name} holds something that is no number")
        values = np.array(text.split(), dtype=np.float64)
        if len(values) != count:
            raise ValueError(f"{name} holds {len(values)} values, not {count}")
        require_finite(values, name)
        return values

    def ints(self, name: str, count: int) -> Ints:
        text = self.field(name)
        if not _INTS.fullmatch(text):
            raise ValueError(f"{name} holds something that is no whole number")
        values = np.array(text.split(), dtype=np.int64)
        if len(values) != count or (np.abs(values) >= 2**31).any():
            raise ValueError(f"{name} does not hold {count} 32-bit numbers")
        return values

    @property
    def over(self) -> bool:
        return self._at == len(self._lines)


@once_for_each_file
def require_sound(payload: bytes) -> tuple[str, int]:
    """The CLM metadata the file carries and the number of its features. Raises ValueError with a sentence."""
    if not re.fullmatch(rb"[\n\x20-\x7e]*", payload):
        raise ValueError("it is no plain text")
    lines = _Lines(payload.decode("ascii"))
    lines.expect(*_HEAD)
    features = int(lines.ints("max_feature_idx", 1)[0]) + 1
    lines.expect("objective=regression")
    names, ranges = lines.field("feature_names").split(" "), lines.field("feature_infos").split(" ")
    if names != [f"Column_{number}" for number in range(len(names))] or len(names) != features:
        raise ValueError("its columns are not numbered")
    if len(ranges) != features or not all(map(_RANGE.fullmatch, ranges)):
        raise ValueError("its columns' ranges cannot be read")
    sizes = lines.field("tree_sizes")
    if not re.fullmatch(r"\d{1,9}(?: \d{1,9})*", sizes):
        raise ValueError("its trees' sizes cannot be read")
    lines.expect("")
    largest = []
    for number, size in enumerate(map(int, sizes.split(" "))):
        before = lines.position
        largest.append(_tree(lines, number, features))
        if lines.position - before != size:
            raise ValueError(f"tree {number} is {lines.position - before} characters long, not {size}")
    require_answer(0.0, largest)
    lines.expect("end of trees", "", "feature_importances:")
    lines.block(_IMPORTANCE)
    lines.expect("parameters:")
    lines.block(_PARAMETER)
    lines.expect("end of parameters", "")
    metadata = lines.take()
    if not metadata.startswith(METADATA):
        raise ValueError("it carries no CLM metadata")
    lines.expect("pandas_categorical:null", "")
    if not lines.over:
        raise ValueError("more follows its end")
    return metadata.removeprefix(METADATA), features


def _tree(lines: _Lines, number: int, features: int) -> float:
    """The next tree's largest leaf, without sign."""
    lines.expect(f"Tree={number}")
    leaves = int(lines.ints("num_leaves", 1)[0])
    if leaves < 1:
        raise ValueError(f"tree {number} has no leaves")
    inner, alone = leaves - 1, leaves == 1
    lines.expect("num_cat=0")
    split_on = lines.ints("split_feature", inner)
    if ((split_on < 0) | (split_on >= features)).any():
        raise ValueError(f"a split asks for a feature beyond the {features} there are")
    lines.floats("split_gain", inner)
    lines.floats("threshold", inner)
    if not np.isin(lines.ints("decision_type", inner), _NUMERIC_SPLITS).all():
        raise ValueError("a split is not numeric")
    children = np.concatenate((lines.ints("left_child", inner), lines.ints("right_child", inner)))
    if (children >= inner).any():
        raise ValueError("a tree's links lead out of it")
    above = np.tile(np.arange(inner), 2)
    # A leaf is named by its complement; here leaves are numbered on from the inner nodes.
    require_tree(above, np.where(children < 0, inner + ~children, children), inner + leaves)
    values = lines.floats("leaf_value", leaves)
    lines.floats("leaf_weight", 0 if alone else leaves)
    lines.ints("leaf_count", leaves)
    lines.floats("internal_value", inner)
    lines.floats("internal_weight", inner)
    lines.ints("internal_count", inner)
    lines.expect("is_linear=0")
    lines.floats("shrinkage", 1)
    lines.expect("", "")
    return float(np.abs(values).max())
