"""What makes a forest safe to predict with: every path leads down to a leaf, and every answer is finite."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np

Ints = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[Any]]

#: Labels are log returns, or returns over volatility clipped at 100 at most: leaves that add up to this are
#: no forecast. Below it nothing overflows, in float32 either.
LARGEST_ANSWER = 1e6
R = TypeVar("R")
#: Files found sound that are remembered, by their hash alone.
REMEMBERED = 64


def require_tree(parents: Ints, children: Ints, nodes: int) -> None:
    """Edge k leads from node parents[k] to node children[k]; nodes are 0 (the root) … nodes - 1.

    Raises ValueError unless every node but the root is the child of exactly one node before it: then nothing
    lies out of range, no path comes back to where it was, and every node is reached.
    """
    if len(children) != nodes - 1 or not ((children > parents) & (children < nodes) & (parents >= 0)).all():
        raise ValueError("a tree's links lead out of it, or back up")
    if len(np.unique(children)) != len(children):
        raise ValueError("a tree's node has two parents")


def require_finite(values: Floats, what: str) -> None:
    """Raises ValueError for NaN and infinity."""
    if not np.isfinite(values).all():
        raise ValueError(f"{what} are not finite")


def require_answer(base: float, largest_leaves: list[float]) -> None:
    """largest_leaves: of each tree, without sign. Raises ValueError where they may add up to too much."""
    if not abs(base) + sum(largest_leaves) <= LARGEST_ANSWER:
        raise ValueError(f"leaves may add up to more than {LARGEST_ANSWER:g}, which is no forecast")


def once_for_each_file(check: Callable[[bytes], R]) -> Callable[[bytes], R]:
    """`check`, whose answers are kept by the hash of what it was given; what it raises is not."""
    known: OrderedDict[bytes, R] = OrderedDict()
    lock = threading.Lock()

    @wraps(check)
    def checked(payload: bytes) -> R:
        name = sha256(payload).digest()
        with lock:
            if name in known:
                known.move_to_end(name)
                return known[name]
        found = check(payload)
        with lock:
            known[name] = found
            while len(known) > REMEMBERED:
                known.popitem(last=False)
        return found

    return checked
