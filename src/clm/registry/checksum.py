"""A checksum over the rows of a table: equal rows have equal ones, whatever database holds them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Checksum:
    """Grows with every row, in the order they are given; JSON is given as the text that is stored."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = sha256()

    def add(self, rows: Iterable[Iterable[object]]) -> None:
        """Raises TypeError for a value of a kind that no table has."""
        for row in rows:
            self.rows += 1
            self._hash.update(b"".join(map(_exactly, row)))

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _exactly(value: object) -> bytes:
    """Bytes that differ wherever values do: kinds have a letter each, texts their length."""
    match value:
        case None:
            return b"n"
        case str():
            text = value.encode()
            return b"s%d:%s" % (len(text), text)
        case float():
            # SQLite stores no negative zero; adding zero makes one positive, and changes nothing else.
            return b"d" + struct.pack(">d", value + 0.0)
        case int():
            return b"i%d;" % value
        case datetime():
            return b"t%d;" % ((value - _EPOCH) // _MICROSECOND)
        case _:
            raise TypeError(f"no checksum for {type(value).__name__}")
