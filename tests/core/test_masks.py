"""No text of a stranger takes longer than its length: masks go over it once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core import audit
from clm.core.text import mask_url, without_secrets

#: What tempts a pattern to begin over and over: pieces that are repeated until the text is long.
PIECES = (
    "://", "://a", "a://:", "@", "://@", "?key=", "&pass", "pass", "?pass=;", "secret: ", "key=", " ",
    "bearer ", "bearer", "basic  ", "a", "a ", "1", "1 ", "-", "/", "/a", "a/", "../", ".", "..", ",", " ,",
    ", ", "[", "[a: ", "]", "<title>", "clm_", "api_key: '", "token\t", "x-api", "%41", "_v20240101_", "0.0",
    "1e", "/login", "/_nicegui", "/api/clm/", "Column_1=", "\n", '"', "'", 'src="', "é", "=", ";", "#", "?",
)  # fmt: skip
_FORMER_IN_URL = (
    (re.compile(r"(?<=://)([^:@/?#]*):.*@", re.DOTALL), r"\1:***@"),
    (
        re.compile(r"([?&;](?:\w*pass\w*|\w*pwd|\w*secret\w*|\w*token|\w*key)=)[^&;#]*", re.IGNORECASE),
        r"\1***",
    ),
)
_FORMER_IN_TEXT = (
    (re.compile(r"(?<=://)([^:@/?#\s\"']*):[^\s\"']*@"), r"\1:***@"),
    (
        re.compile(r"([?&;](?:\w*pass\w*|\w*pwd|\w*secret\w*|\w*token|\w*key)=)[^&;#\s\"']*", re.IGNORECASE),
        r"\1***",
    ),
)


def _seconds(do: Callable[[], object]) -> float:
    """Of a processor, the least of three."""
    took = []
    for _ in range(3):
        began = time.thread_time()
        do()
        took.append(time.thread_time() - began)
    return min(took)


def _of_length(piece: str, size: int) -> str:
    return (piece * (size // len(piece) + 1))[:size]


def _too_long(do: Callable[[str], object]) -> list[tuple[str, float, float]]:
    """The pieces of which ten times as much takes more than twenty times as long."""
    wrong = []
    for piece in PIECES:
        few, many = (_seconds(partial(do, _of_length(piece, size))) for size in (2_500, 25_000))
        # What is done in no time has no need of a ratio, which would be the clock's own noise.
        if many > max(20 * few, 0.02):
            wrong.append((piece, few, many))
    return wrong


@pytest.mark.parametrize("mask", [mask_url, without_secrets, audit.fit_to_keep], ids=lambda f: f.__name__)
def test_a_mask_goes_over_a_text_once(mask: Callable[[object], object]) -> None:
    assert _too_long(lambda text: mask({"field": text} if mask is audit.fit_to_keep else text)) == []


_PARTS = (
    "://", "a", ":", "@", "/", "?", "&", ";", "#", " ", "'", "=", "pass", "key", "token", "x", "é", "\n",
    "secret", "pwd",
)  # fmt: skip
_TEXTS = st.lists(st.sampled_from(_PARTS), max_size=14).map("".join)


@settings(max_examples=500)
@given(_TEXTS)
def test_what_is_masked_is_what_was(text: str) -> None:
    """By the patterns of before, which took the square of a text's length."""
    former = text
    for pattern, instead in _FORMER_IN_URL:
        former = pattern.sub(instead, former)
    assert mask_url(text) == former

    former = text
    for pattern, instead in _FORMER_IN_TEXT:
        former = pattern.sub(instead, former)
    assert without_secrets(text) == without_secrets(former)
    assert "***" in without_secrets(text) or former == text
