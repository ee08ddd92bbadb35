"""Text from outside: what can be kept, what can be shown, and no secret in it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

#: `user:password@` after the scheme; a password may hold any character, an unescaped `@` and `/` too.
_CREDENTIALS = re.compile(r"(?<=://)([^:@/?#]*):.*@", re.DOTALL)
_IN_QUERY = re.compile(r"([?&;](?:\w*pass\w*|\w*pwd|\w*secret\w*|\w*token|\w*key)=)[^&;#]*", re.IGNORECASE)
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
    return _IN_QUERY.sub(r"\1***", _CREDENTIALS.sub(r"\1:***@", url))


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
