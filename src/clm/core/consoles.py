"""Consoles that cannot show every letter: what they lack is written otherwise, and nothing ends of it."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from contextlib import suppress

_NAME = "clm.otherwise"
#: What sentences and tables here are written with, in ASCII.
_OTHERWISE = {
    "—": "-", "–": "-", "−": "-", "…": "...", "×": "x", "·": "-", "→": "->", "◀": "<", "▶": ">",
    "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "±": "+/-", "²": "^2", "σ": "sigma", "µ": "u", "Δ": "delta",
    "“": '"', "”": '"', "‘": "'", "’": "'", "•": "*", "∞": "inf",
    "←": "<-", "½": "1/2", "⅓": "1/3", "⁻": "-", "÷": "/", "√": "sqrt ", "Σ": "sum", "α": "alpha",
    "λ": "lambda", "η": "eta", "μ": "mu", "─": "-", "│": "|", "├": "+", "└": "+", "\u0302": "^",
}  # fmt: skip


def write_otherwise() -> None:
    """From now on standard output and error write what their encoding lacks in letters that it has."""
    codecs.register_error(_NAME, _otherwise)
    for stream in (sys.stdout, sys.stderr):
        # One whose file was put in place of another, that could be sought in, cannot be told so any more.
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):
                stream.reconfigure(errors=_NAME)


def _otherwise(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_in_ascii(letter) for letter in missing), error.end


def _in_ascii(letter: str) -> str:
    """A letter without its accents, or its number: `ü` is u, `币` is \\u5e01."""
    known = _OTHERWISE.get(letter)
    if known is not None:
        return known
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return bare or letter.encode("ascii", "backslashreplace").decode()
