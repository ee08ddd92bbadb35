"""Who is told of incidents: addresses in Apprise's words, which may hold a token each."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from clm.core.alert import Message
from clm.core.errors import InvalidSetting
from clm.core.text import scheme_of

_ALLOWED = "addresses Apprise knows, such as slack://TokenA/TokenB/TokenC, comma-separated"
#: Shorter parts of an address are words of every sentence.
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Receiver:
    """name: its scheme and the beginning of its address's hash; tells nothing of a token."""

    name: str
    _url: str = field(repr=False)
    _service: Any = field(repr=False)

    def tell(self, message: Message) -> str | None:
        """Sends it; None when it was taken, else why not, without a secret. Takes some seconds at most."""
        with _Overheard() as said:
            try:
                taken = bool(self._service.notify(title=message.title, body=message.body))
            except Exception as error:  # noqa: BLE001  # a hundred services' code; one's bug is its own failure
                return self._without_secrets(f"{type(error).__name__}: {error}")
        if taken:
            return None
        return self._without_secrets("; ".join(said.lines) or "it was not taken")

    def _without_secrets(self, text: str) -> str:
        parts = re.split(r"[/@:?&=#,]+", self._url.partition("://")[2])
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _SHORTEST_SECRET:
                text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
        return text[:300]


def receivers_of(urls: Sequence[str]) -> tuple[Receiver, ...]:
    """One per address. Raises InvalidSetting that names the wrong one by its place and scheme alone."""
    if not urls:
        return ()
    from apprise import Apprise  # a third of a second, only for who wants it

    _LOG.propagate = False
    found = []
    for position, url in enumerate(urls, 1):
        with _Overheard():
            service = Apprise.instantiate(url) if "://" in url else None
        if not service:
            raise InvalidSetting("CLM_ALERT_URLS", f"number {position} ({scheme_of(url)}://***)", _ALLOWED)
        name = f"{scheme_of(url)}:{sha256(url.encode()).hexdigest()[:8]}"
        found.append(Receiver(name, url, service))
    return tuple({receiver.name: receiver for receiver in found}.values())


_LOG = logging.getLogger("apprise")


class _Overheard(logging.Handler):
    """What Apprise logs on this thread while entered; others do not see it, for it may hold a token."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())

    def __enter__(self) -> _Overheard:
        _LOG.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _LOG.removeHandler(self)
