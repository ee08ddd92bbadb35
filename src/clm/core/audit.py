"""Who changed something, when, from where, and what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

_SECRET = re.compile(r"key|token|secret|password|passwd|authorization|credential|cookie", re.IGNORECASE)
_MADE_BY_US = re.compile(r"clm_[A-Za-z0-9_-]{20,}")
#: Characters of a detail's JSON that are kept, and levels of it; what is longer or deeper says so.
_LONGEST, _DEEPEST = 4000, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that is about to be done, or refused.

    actor: a key's name, `local`, `stranger`, or `cli:user@host`. role: theirs, empty for none. origin: the
    address they came from. action: `POST /api/clm/retrain` or `clm retrain`. detail: what was asked for.
    """

    actor: str
    role: str
    origin: str
    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """at: the database's time. result: None while it is under way, or when whoever did it died meanwhile."""

    number: int
    at: datetime
    deed: Deed
    result: str | None


def fit_to_keep(detail: Mapping[str, Any]) -> Any:
    """`detail` without secrets and not too long: what may stay in the trail for ever."""
    kept = without_secrets("", detail)
    text = json.dumps(kept)
    return kept if len(text) <= _LONGEST else {"cut": text[:_LONGEST], "characters": len(text)}


def without_secrets(name: object, value: Any, levels: int = _DEEPEST) -> Any:
    """JSON-ready `value`, given under that name, with `***` in place of what may be a secret."""
    if isinstance(value, Mapping | list | tuple):
        if levels == 0:
            return "…"
        if isinstance(value, Mapping):
            return {_plain(str(key)): without_secrets(key, item, levels - 1) for key, item in value.items()}
        return [without_secrets(name, item, levels - 1) for item in value]
    if value is not None and _SECRET.search(str(name)):
        return "***"
    if isinstance(value, float) and not isfinite(value):
        # No JSON: a database may refuse it.
        return str(value)
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """A text without keys of ours and without passwords in addresses."""
    # Half a surrogate pair is kept as it was escaped: no database and no answer could hold it.
    text = text.encode("utf-8", "backslashreplace").decode()
    text = _MADE_BY_US.sub("***", text)
    # Up to the last `@`: a password may hold any character, and a text may be no address at all.
    scheme, last = text.find("://"), text.rfind("@")
    return text if not 0 <= scheme < last - 2 else f"{text[: scheme + 3]}***{text[last:]}"
