"""Text from outside: what can be kept, what can be shown, and no secret in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

# Strangers choose what is masked: every pattern here goes over a text once, however it is made. Where one
# would try the rest of the text from each of its beginnings, the end is looked for first.
#: The user before a password, which may hold any character, an unescaped `@` and `/` too.
_USER = re.compile(r"://[^:@/?#]*:")
_PARAMETER = re.compile(r"[?&;](\w+)=")
_END_IN_URL, _END_IN_TEXT = re.compile(r"[&;#]"), re.compile(r"[&;#\s\"']")
_WORD = re.compile(r"[^\s\"']+")
_IN_TEXT = (
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), r"\1 ***"),
    (
        re.compile(
            r"""((?:x-)?\b(?:api[-_]?key|password|passwd|secret|token|authorization)["']?\s*[:=]\s*["']?)"""
            r"""(?!\*\*\*|basic |bearer )[^\s"',;&]+""",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
)  # fmt: skip
_LONGEST_SHOWN = 200


def plain_text(text: str) -> str:
    """`text`, if every database, file system and JSON can hold it. Raises ValueError."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("text in UTF-8, without zero bytes")
    return text


def read_json(text: str) -> Any:
    """What JSON says. Raises ValueError: no JSON, nested too deep, or with what other readers refuse."""
    try:
        read = json.loads(text, parse_constant=_refuse)
        plain_text(json.dumps(read, ensure_ascii=False))
    except (ValueError, RecursionError) as exc:
        raise ValueError('JSON per family, such as {"lightgbm": {"num_trees": 100}}') from exc
    return read


def mask_url(url: str) -> str:
    """`url` with its passwords, if any, replaced by `***`, however badly it is written."""
    return _without_parameters(_without_password(url), _END_IN_URL)


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """A line of a log with what looks like a secret, and what is known to be one, replaced by `***`."""
    for secret in known:
        text = text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")
    if "://" in text:
        # An address ends at blanks and quotes: the line goes on behind it.
        text = _WORD.sub(lambda word: _without_password(word[0]), text)
    text = _without_parameters(text, _END_IN_TEXT)
    for pattern, instead in _IN_TEXT:
        text = pattern.sub(instead, text)
    return text


def _without_password(url: str) -> str:
    """The last @ ends a password."""
    last = url.rfind("@")
    found = _USER.search(url, 0, last) if last >= 0 else None
    return url if found is None else f"{url[: found.end()]}***{url[last:]}"


def _without_parameters(text: str, end: re.Pattern[str]) -> str:
    """`***` for the value of each parameter that is called like a secret, as far as the first `end`."""
    kept, done = [], 0
    for found in _PARAMETER.finditer(text):
        if found.start() < done or not _secret(found[1].lower()):
            continue
        stop = end.search(text, found.end())
        kept += [text[done : found.end()], "***"]
        done = stop.start() if stop is not None else len(text)
    return "".join(kept) + text[done:]


def _secret(name: str) -> bool:
    return "pass" in name or "secret" in name or name.endswith(("pwd", "token", "key"))


def scheme_of(url: str) -> str:
    """What an address begins with, and nothing of the rest, which may be a secret; `?` where it has none."""
    found = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]{0,19})://", url)
    return found.group(1).lower() if found else "?"


def fit_to_show(name: str, value: object) -> object:
    """A setting's wrong value fit for an error message: short, and nothing that might be a secret."""
    if name in ("api_key", "alert_urls"):
        return "***"
    if not isinstance(value, str):
        return value
    shown = mask_url(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
