"""Writes UBJSON as XGBoost does, so that tests can make files that are well formed and wrong."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_KINDS = {"f4": b"d", "i4": b"l", "i8": b"L", "u1": b"U"}


def length(count: int) -> bytes:
    """A length, true or not."""
    return b"L" + struct.pack(">q", count)


def write(value: Any) -> bytes:
    """What `clm.training.ubjson.read` reads back."""
    match value:
        case dict():
            pairs = (length(len(key.encode())) + key.encode() + write(item) for key, item in value.items())
            return b"{" + b"".join(pairs) + b"}"
        case list():
            return b"[#" + length(len(value)) + b"".join(map(write, value))
        case str():
            return b"S" + length(len(value.encode())) + value.encode()
        case int():
            small = -128 < value < 127
            return b"i" + struct.pack(">b", value) if small else b"l" + struct.pack(">i", value)
        case float():
            return b"d" + struct.pack(">f", value)
        case np.ndarray():
            return b"[$" + _KINDS[value.dtype.str[1:]] + b"#" + length(len(value)) + value.tobytes()
    raise TypeError(f"XGBoost writes no {type(value).__name__}")
