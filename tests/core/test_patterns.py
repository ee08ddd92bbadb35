"""No pattern in the sources takes a stranger's long text as an occasion to stop the whole process.

A regular expression is searched for with the interpreter's lock held: one that is quadratic in the length of
a text freezes every thread. Each is tried, with the method it is used with, on texts made of its own pieces.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from importlib import import_module  # noqa: TID251  # of our own sources
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import clm

ROOM = Path(clm.__file__).parent
METHODS = ("match", "fullmatch", "search", "sub", "split", "findall", "finditer")
#: Ten times as long may take fifteen times as long.
MOST = 15.0
LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
#: Below this a ratio says nothing.
BRIEF = 0.1
#: A hundred thousand letters at a rate of twenty million a second.
LINEAR = 0.005


def _used() -> Iterator[tuple[str, str, Any]]:
    """(where, method, pattern) of every use of a pattern in the sources that can be read off them."""
    for file in sorted(ROOM.rglob("*.py")):
        text = file.read_text("utf-8")
        if "re." not in text:
            continue
        name = ".".join(("clm", *file.relative_to(ROOM).with_suffix("").parts)).removesuffix(".__init__")
        module: Any = None
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, method = node.func.value, node.func.attr
            if method not in METHODS or not isinstance(owner, ast.Name):
                continue
            module = module or import_module(name)
            where = f"{name}:{node.lineno}"
            if owner.id == "re":
                pattern = _evaluated(node.args[0], module)
                if pattern is not None:
                    yield (
                        where,
                        method,
                        re.compile(pattern) if not isinstance(pattern, re.Pattern) else pattern,
                    )
            elif isinstance(found := getattr(module, owner.id, None), re.Pattern):
                yield where, method, found


def _evaluated(node: ast.expr, module: Any) -> Any:
    """None for one that depends on what a function is given."""
    try:
        return eval(compile(ast.Expression(node), "<pattern>", "eval"), vars(module))
    except NameError:
        return None


def _texts(pattern: re.Pattern[Any]) -> set[str]:
    """Pieces a pattern is made of, to be repeated: what it begins with, and each part that may repeat."""
    pieces: set[str] = set()

    def sample(items: Any) -> str:
        said = ""
        for kind, value in items:
            if kind is _constants.LITERAL:
                said += chr(value)
            elif kind is _constants.NOT_LITERAL:
                said += "b" if value != ord("b") else "c"
            elif kind is _constants.ANY:
                said += "a"
            elif kind is _constants.IN:
                said += member(value)
            elif kind is _constants.SUBPATTERN:
                said += sample(value[-1])
            elif kind is _constants.BRANCH:
                for branch in value[1]:
                    pieces.add(sample(branch))
                said += sample(value[1][0])
            elif kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT):
                least, most, body = value
                part = sample(body)
                if most > 100:
                    pieces.add(part)
                said += part * max(1, least)
            pieces.add(said)
        return said

    def member(choices: Any) -> str:
        negated = choices[0][0] is _constants.NEGATE
        if not negated:
            kind, value = choices[0]
            if kind is _constants.LITERAL:
                return chr(value)
            if kind is _constants.RANGE:
                return chr(value[0])
        for letter in ("a", "0", " ", "-", "~", "\n", "é"):
            if re.compile(pattern_of(choices), re.DOTALL).fullmatch(letter):
                return letter
        return "a"

    def pattern_of(choices: Any) -> str:
        classes = {
            _constants.CATEGORY_DIGIT: r"\d", _constants.CATEGORY_NOT_DIGIT: r"\D",
            _constants.CATEGORY_SPACE: r"\s", _constants.CATEGORY_NOT_SPACE: r"\S",
            _constants.CATEGORY_WORD: r"\w", _constants.CATEGORY_NOT_WORD: r"\W",
        }  # fmt: skip
        said = ""
        for kind, value in choices:
            if kind is _constants.NEGATE:
                said += "^"
            elif kind is _constants.LITERAL:
                said += re.escape(chr(value))
            elif kind is _constants.RANGE:
                said += f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
            elif kind is _constants.CATEGORY:
                said += classes[value]
        return f"[{said}]"

    sample(_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    return {piece for piece in pieces if piece}


def _slow(pattern: re.Pattern[Any], method: str) -> str | None:
    """The piece that a text of many of it takes too long of; None: none does."""
    pieces = _texts(pattern)
    for piece in sorted(pieces | {"a", " ", "0"}):
        for tail in ("", "\x00"):
            before = None
            for length in LENGTHS:
                text: Any = (piece * (length // len(piece) + 1))[:length] + tail
                text = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
                spent = _seconds(pattern, method, text)
                if before is not None and spent > BRIEF and spent > MOST * before:
                    # Other work may have come between.
                    spent = min(spent, *(_seconds(pattern, method, text) for _ in range(2)))
                if before is not None and spent > BRIEF and spent > MOST * before:
                    return (
                        f"{piece!r} {tail!r}: {length:,} letters take {spent:.2f} s, a tenth {before:.4f} s"
                    )
                if length == LENGTHS[-2] and spent < LINEAR:
                    # What is quadratic takes longer than that for so many letters, by far.
                    break
                before = spent
    return None


def _seconds(pattern: re.Pattern[Any], method: str, text: Any) -> float:
    """Of a processor."""
    began = time.thread_time()
    if method == "sub":
        pattern.sub(text[:0], text)
    elif method == "finditer":
        for _ in pattern.finditer(text):
            pass
    else:
        getattr(pattern, method)(text)
    return time.thread_time() - began


@pytest.mark.rehearse
def test_what_is_looked_for_here_is_found() -> None:
    """The ones that froze a service, and a linear one."""
    assert _slow(re.compile(r"://[^:@/?#\s]*:[^@\s]*@"), "sub") is not None
    assert _slow(re.compile(r"\s*,\s*|\s+$"), "sub") is not None
    assert _slow(re.compile(r"[?&;](\w+)="), "sub") is None


@pytest.mark.rehearse
def test_a_text_ten_times_as_long_takes_ten_times_as_long() -> None:
    used = list(_used())
    ways = {(pattern, method): where for where, method, pattern in used}

    slow = {f"{where} {way[1]}": said for way, where in ways.items() if (said := _slow(*way))}

    assert slow == {}
    assert len(used) > 40
    assert {"clm.core.text", "clm.core.audit", "clm.settings", "clm.api.hosts"} <= {
        where.partition(":")[0] for where, _, _ in used
    }
