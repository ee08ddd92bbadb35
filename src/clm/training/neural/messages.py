"""What parent and child say to each other: a line of JSON, then arrays and bytes; never a pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, BinaryIO

import numpy as np

_KINDS = ("<f4", "<f8")
_SIZES = struct.Struct(">II")
#: A frame of ten years of minutes would have less; what claims more is no message.
_MOST = 2**31


@dataclass(frozen=True, slots=True)
class Message:
    """head: what is wanted or answered. arrays: by name; raw: a model's bytes."""

    head: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    raw: bytes = b""


def send(stream: BinaryIO, message: Message) -> None:
    """Whole, or an OSError."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    shapes = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    head = json.dumps({"head": dict(message.head), "arrays": shapes, "raw": len(message.raw)}).encode()
    size = sum(array.nbytes for array in arrays.values()) + len(message.raw)
    stream.write(_SIZES.pack(len(head), size) + head)
    for array in arrays.values():
        stream.write(array.tobytes())
    stream.write(message.raw)
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """The next message; None where the other side has gone. Raises ValueError for what is none."""
    sizes = stream.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        return None
    head_size, body_size = _SIZES.unpack(sizes)
    if head_size > _MOST or body_size > _MOST:
        raise ValueError("no message is so long")
    head, body = stream.read(head_size), stream.read(body_size)
    if len(head) < head_size or len(body) < body_size:
        return None
    told = json.loads(head)
    arrays, at = {}, 0
    for name, (kind, shape) in told["arrays"].items():
        if kind not in _KINDS:
            raise ValueError(f"{kind!r} is no kind of number that is sent")
        count = prod(shape)
        arrays[name] = np.frombuffer(body, dtype=kind, count=count, offset=at).reshape(shape)
        at += arrays[name].nbytes
    return Message(told["head"], arrays, body[at : at + told["raw"]])
