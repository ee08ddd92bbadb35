"""Model files as an attacker or a dying disk would leave them, each sealed again so that it meets the reader.

Every family's small model is the start. `damaged` strikes its bytes at random; `crafted` are well-formed
files whose content lies, each with a name.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

from clm.training import ubjson
from clm.training.seal import seal, unseal
from tests.support.ubjson import length, write
from tests.support.versions import small_model

SEALED = ("xgboost", "lightgbm")
FAMILIES = (*SEALED, "sklearn_ridge")
_NAMES = ["f0", "f1", "f2", "f3", "volatility_ewma"]
_BOMB = "[" * 100_000


@cache
def sound(family: str) -> bytes:
    """A whole file."""
    return small_model(family).to_bytes()


@cache
def payload(family: str) -> bytes:
    """What is inside the seal."""
    return unseal(sound(family), family) if family in SEALED else sound(family)


def sealed(family: str, inside: bytes) -> bytes:
    """A file whose seal is right, whatever it holds."""
    return seal(inside) if family in SEALED else inside


def damaged(family: str, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` files struck at random."""
    rng = random.Random(f"{family} {seed}")
    whole = payload(family)
    strokes: dict[str, Callable[[bytearray], bytes]] = {
        "flipped": lambda b: _flipped(b, rng),
        "cut": lambda b: bytes(b[: rng.randrange(len(b))]),
        "lengthened": lambda b: bytes(b) + rng.randbytes(rng.randrange(1, 200)),
        "holed": lambda b: _holed(b, rng),
        "stuttering": lambda b: _stuttering(b, rng),
        "spliced": lambda b: bytes(b[: rng.randrange(len(b))]) + whole[rng.randrange(len(whole)) :],
    }
    for number in range(count):
        struck = whole
        while struck == whole:
            kind = rng.choice(list(strokes))
            struck = strokes[kind](bytearray(whole))
        yield f"{kind} {number}", sealed(family, struck)


def _flipped(raw: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        raw[rng.randrange(len(raw))] ^= rng.randrange(1, 256)
    return bytes(raw)


def _holed(raw: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    del raw[at : at + rng.randrange(1, 64)]
    return bytes(raw)


def _stuttering(raw: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    raw[at:at] = raw[at : at + rng.randrange(1, 64)]
    return bytes(raw)


def crafted(family: str) -> Iterator[tuple[str, bytes]]:
    """Files that must be refused."""
    yield from ((name, sealed(family, inside)) for name, inside in _anything(family))
    match family:
        case "xgboost":
            yield from ((name, seal(inside)) for name, inside in _xgboost())
        case "lightgbm":
            yield from ((name, seal(inside)) for name, inside in _lightgbm())
        case _:
            yield from _ridge()


def _anything(family: str) -> Iterator[tuple[str, bytes]]:
    """What is no file of any family."""
    yield "empty", b""
    yield "one byte", b"{"
    yield "nothing but zeros", bytes(10_000)
    yield "nothing but high bytes", b"\xff" * 10_000
    yield "a pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94."
    yield "a JSON bomb", _BOMB.encode()
    yield "a JSON number of many digits", b"9" * 100_000
    yield "a deep object", b'{"learner":' * 50_000
    yield "a zip", b"PK\x03\x04" + bytes(100)
    yield "twice over", payload(family) * 2
    for other in FAMILIES:
        if other != family:
            yield f"a file of {other}", payload(other)
            yield f"a whole file of {other}", sound(other)


def with_metadata(family: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The small model saying something else about itself."""
    if family == "xgboost":
        document = ubjson.read(payload(family))
        attributes = document["learner"]["attributes"]
        attributes["clm"] = _changed(attributes["clm"], change)
        return seal(write(document))
    text = payload(family).decode()
    found = re.search(r"(?m)^clm_metadata:(.*)$", text)
    assert found is not None
    return seal(text.replace(found[1], _changed(found[1], change)).encode())


def _changed(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    metadata = json.loads(text)
    change(metadata)
    return json.dumps(metadata)


def lying_metadata() -> dict[str, Callable[[dict[str, Any]], object]]:
    """What must be refused in a family of ours, whatever the trees are."""

    def params(**new: object) -> Callable[[dict[str, Any]], object]:
        return lambda m: m["params"].update(new)

    return {
        "no feature names": lambda m: m.pop("feature_names"),
        "feature names as one text": lambda m: m.update(feature_names="f0f1v"),
        "too few feature names": lambda m: m.update(feature_names=_NAMES[:4]),
        "too many feature names": lambda m: m.update(feature_names=[*_NAMES, "f4"]),
        "a feature name twice": lambda m: m.update(feature_names=["f0", *_NAMES[:4]]),
        "feature names that are numbers": lambda m: m.update(feature_names=[0, 1, 2, 3, 4]),
        "feature names that are lists": lambda m: m.update(feature_names=[[n] for n in _NAMES]),
        "feature names as an object": lambda m: m.update(feature_names=dict.fromkeys(_NAMES)),
        "no parameters": lambda m: m.pop("params"),
        "parameters that are null": lambda m: m.update(params=None),
        "no word on scaling": lambda m: m["params"].pop("target_scaling"),
        "scaling that is a number": params(target_scaling=1),
        "scaling that is null": params(target_scaling=None),
        "a parameter that is not finite": params(learning_rate=float("nan")),
        "a parameter that is a list": params(learning_rate=[0.1]),
        "another format": lambda m: m.update(format=2),
        "a format that is an object": lambda m: m.update(format={}),
        "another family": lambda m: m.update(model_type="nhits"),
        "a family that is null": lambda m: m.update(model_type=None),
        "something more": lambda m: m.update(run="rm -rf /"),
    }


def _xgboost() -> Iterator[tuple[str, bytes]]:
    whole = payload("xgboost")
    yield "an object key twice", whole.replace(b"\x00\x07version[", b"\x00\x07learner[")
    lengths = [found.start() for found in re.finditer(rb"L\x00{6}", whole)]
    for at in lengths[:: max(1, len(lengths) // 12)]:
        for count in (-1, -(2**63), 2**63 - 1, 2**40, 0):
            yield f"length {count} at byte {at}", whole[:at] + length(count) + whole[at + 9 :]
    yield "an array of counted rubbish", b"{" + length(7) + b"learner[$d#" + length(2**60)
    yield "a list of many nothings", b"[#" + length(2**31)
    yield "a document nested deep", b"[#" + (length(1) + b"[#") * 50_000
    yield "objects nested deep", (b"{" + length(1) + b"a") * 50_000
    yield "the JSON of the same model", json.dumps(_plain(ubjson.read(whole))).encode()
    for name, change in _lies_of_xgboost().items():
        document = deepcopy(ubjson.read(whole))
        change(document["learner"])
        yield name, write(document)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case np.ndarray():
            return value.tolist()
        case _:
            return value


def _lies_of_xgboost() -> dict[str, Callable[[dict[str, Any]], object]]:
    def model(learner: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = learner["gradient_booster"]["model"]
        return found

    def put(name: str, at: int, value: float) -> Callable[[dict[str, Any]], object]:
        def change(learner: dict[str, Any]) -> None:
            tree = model(learner)["trees"][1]
            tree[name] = tree[name].copy()
            tree[name][at] = value

        return change

    def shaped(name: str, how: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
        return lambda learner: model(learner)["trees"][1].update(
            {name: how(model(learner)["trees"][1][name])}
        )

    def tree_param(**new: str) -> Callable[[dict[str, Any]], object]:
        return lambda learner: model(learner)["trees"][1]["tree_param"].update(new)

    def learner_param(**new: object) -> Callable[[dict[str, Any]], object]:
        return lambda learner: learner["learner_model_param"].update(new)

    lies: dict[str, Callable[[dict[str, Any]], object]] = {
        f"{name} {what}": shaped(name, how)
        for name in (
            "base_weights", "default_left", "left_children", "loss_changes", "parents", "right_children",
            "split_conditions", "split_indices", "split_type", "sum_hessian",
        )
        for what, how in {
            "shorter": lambda array: array[:-1], "longer": lambda array: np.append(array, array[-1:]),
            "empty": lambda array: array[:0], "of another kind": lambda array: array.astype(">i8"),
            "as a text": lambda array: "1,2,3", "as a list": lambda array: [int(x) for x in array],
        }.items()
    }  # fmt: skip
    lies |= {
        f"{name}[{at}] = {value:g}": put(name, at, value)
        for name in ("left_children", "right_children")
        for at in (0, 1, 2)
        for value in (0, 1, 2, 9, 1_000_000, 2**31 - 1, -2, -(2**31))
        if (name, at, value) not in {("left_children", 0, 1), ("right_children", 0, 2)}
    }
    lies |= {
        f"split on feature {value:g}": put("split_indices", 0, value)
        for value in (5, 6, 1_000_000, 2**31 - 1, -1, -(2**31))
    }
    lies |= {
        f"{name}[{at}] = {value:g}": put(name, at, value)
        for name in ("split_conditions", "base_weights", "sum_hessian", "loss_changes")
        for at in (0, -1)
        for value in (np.nan, np.inf, -np.inf)
    }
    lies |= {
        f"{name} {value!r}": tree_param(**{name: value})
        for name in ("num_nodes", "num_feature", "num_deleted", "size_leaf_vector")
        for value in ("-1", "2000000000", "", "x", "1e3", "٣", "99999999999999999999")
    }
    lies |= {
        f"{name} {value!r}": learner_param(**{name: value})
        for name in ("num_feature", "num_class", "num_target", "base_score", "boost_from_average")
        for value in ("-1e39", "1000000", "", "nan", "[0E0,0E0]", "inf", "1" * 400)
    }
    lies |= {
        "a leaf beyond all returns": put("split_conditions", -1, 3e38),
        "a categorical split": put("split_type", 0, 1),
        "a default of 255": put("default_left", 0, 255),
        "another parent": put("parents", 3, 2),
        "a tree too many": lambda learner: model(learner)["trees"].append(model(learner)["trees"][0]),
        "a tree too few": lambda learner: model(learner)["trees"].pop(),
        "no trees": lambda learner: model(learner).update(trees=[]),
        "trees that are numbers": lambda learner: model(learner).update(trees=[1, 2, 3]),
        "trees of another class": lambda learner: model(learner).update(tree_info=[0, 7, 0]),
        "tree_info shorter": lambda learner: model(learner).update(tree_info=[0]),
        "iterations out of range": lambda learner: model(learner).update(iteration_indptr=[0, 1, 2, 900]),
        "iterations backwards": lambda learner: model(learner).update(iteration_indptr=[3, 2, 1, 0]),
        "parallel trees": lambda learner: model(learner)["gbtree_model_param"].update(num_parallel_tree="9"),
        "many trees": lambda learner: model(learner)["gbtree_model_param"].update(num_trees="2000000000"),
        "categories": lambda learner: model(learner)["cats"].update(enc=[1]),
        "categories of a kind": lambda learner: model(learner)["cats"].update(
            feature_segments=np.array([0, 9], ">i4")
        ),
        "a dart": lambda learner: learner["gradient_booster"].update(name="dart"),
        "a linear booster": lambda learner: learner["gradient_booster"].update(name="gblinear"),
        "no booster": lambda learner: learner.pop("gradient_booster"),
        "softmax": lambda learner: learner["objective"].update(name="multi:softmax"),
        "an objective nobody knows": lambda learner: learner["objective"].update(name="x" * 10_000),
        "a weight that is no number": lambda learner: learner["objective"].update(
            reg_loss_param={"scale_pos_weight": "nan"}
        ),
        "feature names of its own": lambda learner: learner.update(feature_names=_NAMES),
        "feature types": lambda learner: learner.update(feature_types=["c"] * 5),
        "no metadata": lambda learner: learner["attributes"].clear(),
        "metadata that are a number": lambda learner: learner["attributes"].update(clm=1),
        "metadata that are a bomb": lambda learner: learner["attributes"].update(clm=_BOMB),
        "metadata that are a list": lambda learner: learner["attributes"].update(clm="[1]"),
        "another attribute": lambda learner: learner["attributes"].update(best_iteration="99999999"),
        "an unknown part": lambda learner: learner.update(plugin="cuda"),
    }  # fmt: skip
    return lies


def _lightgbm() -> Iterator[tuple[str, bytes]]:
    whole = payload("lightgbm").decode()
    for name, (pattern, new) in _lies_of_lightgbm().items():
        lied, hits = re.subn(pattern, new.replace("\\", r"\\"), whole, count=1, flags=re.MULTILINE)
        assert hits, f"nothing to lie about: {name}"
        yield name, lied.encode()
        if resized(lied) not in (lied, whole):
            # The same with sizes that agree, so that the size is not what gives it away.
            yield f"{name}, sizes right", resized(lied).encode()
    for name, text in {
        "carriage returns": whole.replace("\n", "\r\n"),
        "a byte order mark": "\ufeff" + whole,
        "a zero byte": whole.replace("Tree=1", "Tree=1\x00"),
        "another alphabet": whole.replace("version=v4", "version=v４"),
        "every line twice": "\n".join(line for part in whole.split("\n") for line in (part, part)),
        "the lines backwards": "\n".join(reversed(whole.split("\n"))),
        "a line of a million digits": re.sub(
            r"(?m)^leaf_value=", "leaf_value=" + "9" * 10**6, whole, count=1
        ),
        "a million empty lines": whole + "\n" * 10**6,
    }.items():
        yield name, text.encode()


def resized(text: str) -> str:
    """The text with the sizes its trees have."""
    trees = re.findall(r"Tree=\d+\n.*?\n\n\n", text, flags=re.DOTALL)
    return re.sub(r"(?m)^tree_sizes=.*$", "tree_sizes=" + " ".join(str(len(tree)) for tree in trees), text)


def _lies_of_lightgbm() -> dict[str, tuple[str, str]]:
    def lies(line: str, *values: str) -> dict[str, tuple[str, str]]:
        return {f"{line}={value[:40]!r}": (rf"^{line}=.*$", f"{line}={value}") for value in values}

    long = " ".join(["1"] * 100_000)
    return {
        **lies("version", "v3", "v999", "", "v4 "),
        **lies("num_class", "0", "-1", "1000000000"),
        **lies("num_tree_per_iteration", "0", "7", "-1"),
        **lies("label_index", "99", "-5"),
        **lies("max_feature_idx", "-1", "0", "3", "5", "2000000000", "x", ""),
        **lies("objective", "multiclass num_class:9", "regression sqrt", "custom", ""),
        **lies("feature_names", "", "a", "Column_0", long),
        **lies("feature_infos", "", "none", "[nan:inf] none none none none", "0:1:2 none none none none"),
        **lies("tree_sizes", "", "0", "1 1 1", "999999999 1 1", "-671 502 501", "99999999999999999999", long),
        **lies("num_leaves", "0", "-1", "1", "5", "7", "2000000000", "99999999999", "1e3", ""),
        **lies("num_cat", "1", "-1", "1000000000"),
        **lies("split_feature", "2 1 2 1 5", "2 1 2 1 -1", "2 1 2 1 2000000000", "2 1 2 1", "a b c d e",
               long),
        **lies("split_gain", "1 1 1 1", "nan 1 1 1 1", ""),
        **lies("threshold", "nan 1 1 1 1", "inf 1 1 1 1", "1e999 1 1 1 1", "0x10 1 1 1 1", "1 1 1 1"),
        **lies("decision_type", "1 2 2 2 2", "255 2 2 2 2", "-1 2 2 2 2", "3 3 3 3 3", "2"),
        **lies("left_child", "0 2 -2 -1 -3", "4 2 -2 -1 -3", "3 1 -2 -1 -3", "3 2 -2 -1 -7", "3 2 -2 -1 5",
               "3 2 -2 -1 2147483647", "3 2 -2 -1 -2147483648", "3 3 -2 -1 -3", "3 2 -2 -1", "", long),
        **lies("right_child", "0 4 -4 -5 -6", "1 1 -4 -5 -6", "1 4 2 -5 -6", "1 4 -4 -5 -5", "1 4 -4 0 -6"),
        **lies("leaf_value", "nan 0 0 0 0 0", "inf 0 0 0 0 0", "1e308 1e308 0 0 0 0", "0 0 0", "",
               "1e7 0 0 0 0 0", "0 0 0 0 0 zero"),
        **lies("leaf_weight", "1 1", "nan 1 1 1 1 1"),
        **lies("leaf_count", "1 1", "99999999999 1 1 1 1 1", "1.5 1 1 1 1 1"),
        **lies("internal_value", "1", "nan 1 1 1 1"),
        **lies("internal_weight", "1"),
        **lies("internal_count", "1", "-99999999999 1 1 1 1"),
        **lies("is_linear", "1", "2"),
        **lies("shrinkage", "nan", "", "inf"),
        "a tree of another number": (r"^Tree=1$", "Tree=7"),
        "a tree that is missing": (r"(?s)Tree=1\n.*?\n\n\n", ""),
        "averaged output": (r"^version=v4$", "version=v4\naverage_output"),
        "monotone constraints": (r"^tree_sizes", "monotone_constraints=1 1 1 1 1\ntree_sizes"),
        "no end of trees": (r"^end of trees$", ""),
        "no end of parameters": (r"^end of parameters$", ""),
        "a parameter that ends the JSON": (r"^\[metric: l2\]$", '[metric: l2", "x": "]'),
        "a parameter without a value": (r"^\[metric: l2\]$", "[metric]"),
        "a parameter of another shape": (r"^\[metric: l2\]$", "metric=l2"),
        "an importance of another shape": (r"^Column_0=3$", "Column_0=many"),
        "categories of pandas": (r"^pandas_categorical:null$", 'pandas_categorical:[["a"]]'),
        "a bomb of pandas": (r"^pandas_categorical:null$", f"pandas_categorical:{_BOMB}"),
        "no metadata": (r"^clm_metadata:.*\n", ""),
        "metadata that are a bomb": (r"^clm_metadata:.*$", f"clm_metadata:{_BOMB}"),
        "metadata that are a list": (r"^clm_metadata:.*$", "clm_metadata:[1]"),
        "metadata that are no JSON": (r"^clm_metadata:.*$", "clm_metadata:{"),
    }  # fmt: skip


def _ridge() -> Iterator[tuple[str, bytes]]:
    whole = json.loads(sound("sklearn_ridge"))
    lies: dict[str, dict[str, object]] = {
        "too few coefficients": {"coefficients": [1.0]},
        "coefficients that are texts": {"coefficients": ["a"] * 5},
        "coefficients in two dimensions": {"coefficients": [[1.0] * 5] * 5},
        "ragged coefficients": {"coefficients": [[1.0], 2.0, 3.0, 4.0, 5.0]},
        "coefficients that are not finite": {"coefficients": [float("nan")] * 5},
        "coefficients beyond all returns": {"coefficients": [1e308] * 5},
        "an endless intercept": {"intercept": float("inf")},
        "an intercept of many digits": {"intercept": 10**400},
        "an intercept that is an object": {"intercept": {}},
        "a feature twice": {"names": ["f0", *_NAMES[:4]]},
        "names that are a number": {"names": 5},
        "parameters that are a number": {"params": 5},
    }
    for name, new in lies.items():
        yield name, json.dumps({**whole, **new}).encode()
    for key in whole:
        yield f"without {key}", json.dumps({k: v for k, v in whole.items() if k != key}).encode()
