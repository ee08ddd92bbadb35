"""The UBJSON that XGBoost writes, read without trusting a byte of it; anything it does not write is refused.

XGBoost's own reader believes the lengths it finds, and the process dies of a wrong one. Here every length is
held against what is left of the file, so that nothing is read beyond its end and nothing is allocated that
the file does not hold. Grammar: ubjson.org; numbers are big-endian, lengths are int64 (`L`).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

#: XGBoost nests eight deep.
_DEEPEST = 16
_NUMBERS = {b"i": ">b", b"I": ">h", b"l": ">i", b"L": ">q", b"d": ">f"}
_ARRAYS = {b"d": ">f4", b"l": ">i4", b"L": ">i8", b"U": ">u1"}


def read(payload: bytes) -> Any:
    """dict, list, str, int, float, or a numpy array where the file has a typed one.

    Raises ValueError with a sentence for whatever is not exactly one whole document.
    """
    reader = _Reader(payload)
    document = reader.value(0)
    if reader.left:
        raise ValueError(f"{reader.left} bytes follow the document")
    return document


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._payload) - self._at

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST}")
        marker = self._take(1)
        match marker:
            case b"{":
                return self._object(depth)
            case b"[":
                return self._array(depth)
            case b"S":
                return self._text()
            case _ if marker in _NUMBERS:
                return self._number(marker)
            case _:
                raise ValueError(f"{marker!r} at byte {self._at - 1} begins nothing XGBoost writes")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._peek() != b"}":
            key = self._text()
            if key in found:
                raise ValueError(f"{key!r} twice in one object")
            found[key] = self.value(depth + 1)
        self._take(1)
        return found

    def _array(self, depth: int) -> Any:
        if self._peek() != b"$":
            self._require(b"#")
            # A list's items take a byte each at least: `_length` has seen to it that they can be there.
            return [self.value(depth + 1) for _ in range(self._length())]
        self._take(1)
        kind = self._take(1)
        if kind not in _ARRAYS:
            raise ValueError(f"an array of {kind!r}, which XGBoost does not write")
        self._require(b"#")
        dtype = np.dtype(_ARRAYS[kind])
        count = self._length(dtype.itemsize)
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _text(self) -> str:
        return self._take(self._length()).decode()

    def _length(self, size: int = 1) -> int:
        self._require(b"L")
        count = int(self._number(b"L"))
        if not 0 <= count <= self.left // size:
            raise ValueError(f"a length of {count} at byte {self._at - 8}, where {self.left} bytes are left")
        return count

    def _number(self, marker: bytes) -> Any:
        layout = _NUMBERS[marker]
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _require(self, wanted: bytes) -> None:
        found = self._take(1)
        if found != wanted:
            raise ValueError(f"{found!r} instead of {wanted!r} at byte {self._at - 1}")

    def _peek(self) -> bytes:
        return self._payload[self._at : self._at + 1]

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("it ends too early")
        taken = self._payload[self._at : self._at + count]
        self._at += count
        return taken
