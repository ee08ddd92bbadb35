"""One service over HTTP: requests, retries, and every failure as an error of `clm.client.errors`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import httpx

from clm.client.errors import (
    BY_STATUS,
    ClientError,
    ServiceUnavailable,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)

#: Seconds before the first retry after a broken connection; each further one waits twice as long.
_FIRST_WAIT = 0.25
#: Seconds: whoever is to come again later than that hears of it instead.
_LONGEST_WAIT = 30.0
#: Seconds for the connection itself, however long an answer may take.
_CONNECT = 5.0
#: Seconds an idle connection is kept. Servers close theirs after five, and a POST that meets a closing
#: connection cannot be sent again: nobody knows whether it was read.
_KEPT = 2.0
#: The service's own errors; others come from whatever lies between.
_PROBLEM = "application/problem+json"


class Link:
    """The service at `url`. Of GETs alone, `retries` are sent again; see `Client` for the rest."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout: float,
        retries: int,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            base = httpx.URL(url.strip())
        except httpx.InvalidURL as exc:
            raise ValueError(f"url: {exc}") from exc
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError(f"url: {url!r} is none of a service; such as http://127.0.0.1:8000")
        key = None if api_key is None else api_key.strip()
        if key is not None and not (key.isascii() and key.isprintable() and key):
            # The key itself is not told: errors end up in logs.
            raise ValueError("api_key: a key is made of printable ASCII letters; None: no key")
        self._retries, self._timeout, self._sleep = max(0, retries), timeout, sleep
        # The path of the API is added here, also to an address that was copied with it.
        base = base.copy_with(
            path=base.path.rstrip("/").removesuffix("/api/clm") + "/", query=None, fragment=None
        )
        #: Without a user's name and password, fit to be shown.
        self.url = str(base.copy_with(username=None, password=None)).rstrip("/")
        try:
            self._http = httpx.Client(
                base_url=base, headers={} if key is None else {"X-API-Key": key}, transport=transport,
                timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT)),
                limits=httpx.Limits(keepalive_expiry=_KEPT),
            )  # fmt: skip
        except ImportError as exc:
            raise Unreachable(
                f"{self.url} cannot be asked: this environment names a SOCKS proxy (ALL_PROXY, HTTPS_PROXY "
                "or HTTP_PROXY), which needs a package that is not installed: pip install 'httpx[socks]'"
            ) from exc
        except (ValueError, httpx.InvalidURL) as exc:
            raise Unreachable(
                f"{self.url} cannot be asked: a proxy of this environment (ALL_PROXY, HTTPS_PROXY or "
                f"HTTP_PROXY) is no address of one: {exc}"
            ) from exc
        except OSError as exc:
            raise Unreachable(
                f"{self.url} cannot be asked: the certificates that SSL_CERT_FILE or SSL_CERT_DIR names "
                f"cannot be read: {exc}"
            ) from exc

    def close(self) -> None:
        """Let go of all connections."""
        self._http.close()

    def get(self, *path: object, **query: Any) -> Any:
        """The answer to a GET below /api/clm; path: its segments."""
        return self.ask("GET", _below(path), query=query)

    def post(
        self, *path: object, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The answer to a POST below /api/clm."""
        return self.ask("POST", _below(path), query=query, body=body)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        fine: frozenset[int] = frozenset(),
    ) -> Any:
        """The JSON of the answer. None in `query` and `body` is left out; fine: statuses besides 2xx.

        Raises ClientError.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        sent = None if body is None else {n: value for n, value in body.items() if value is not None}
        for attempt in range(self._retries + 1):
            try:
                return self._once(method, path, given, sent, fine)
            except (Unreachable, ServiceUnavailable) as error:
                wait = _wait_before(attempt + 1, error) if method == "GET" else None
                if wait is None or attempt == self._retries:
                    raise
                self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def events(self, *path: object) -> Iterator[Any]:
        """The JSON of each event of a stream below /api/clm, until it ends. Raises ClientError."""
        try:
            # A sign of life comes every 15 seconds.
            with self._http.stream("GET", _below(path), timeout=max(self._timeout, 60.0)) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error_of(answer, self.url)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.TimeoutException as exc:
            raise TimedOut(f"{self.url} gave no sign of life") from exc
        except httpx.RequestError as exc:
            raise Unreachable(f"{self.url} cannot be reached: {_words_of(exc, self.url)}") from exc
        except ValueError as exc:
            raise UnexpectedAnswer(f"{self.url} sent an event that is no JSON: {exc}") from exc

    def _once(self, method: str, path: str, query: Mapping[str, Any], body: Any, fine: frozenset[int]) -> Any:
        try:
            answer = self._http.request(method, path, params=query, json=body)
        except httpx.TimeoutException as exc:
            raise TimedOut(f"{self.url} did not answer within {self._timeout:g} seconds") from exc
        except (httpx.DecodingError, httpx.TooManyRedirects) as exc:
            raise UnexpectedAnswer(f"{self.url} gave an answer that cannot be read: {exc}") from exc
        except httpx.RequestError as exc:
            raise Unreachable(f"{self.url} cannot be reached: {_words_of(exc, self.url)}") from exc
        if answer.is_success or answer.status_code in fine:
            return _json_of(answer, self.url)
        raise _error_of(answer, self.url)


def _words_of(error: httpx.RequestError, url: str) -> str:
    """What went wrong; where this environment names a proxy for the address, that is who was asked."""
    said = str(error) or type(error).__name__
    host = httpx.URL(url).host
    if proxy_bypass(host):
        return said
    found = getproxies()
    proxy = found.get(httpx.URL(url).scheme) or found.get("all")
    if proxy is None:
        return said
    shown = proxy.rpartition("@")[2].rpartition("://")[2]
    names = "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY"
    return f"{said}; it was asked through the proxy {shown} of this environment ({names})"


def _below(path: Sequence[object]) -> str:
    return "/".join(("api/clm", *map(_segment, path)))


def _segment(value: object) -> str:
    """A name as one segment of a path. Raises ValueError where it would change the path instead."""
    text = str(value)
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} is no name")
    return quote(text, safe="")


def _wait_before(retry: int, error: ClientError) -> float | None:
    """Seconds to wait before a GET is sent again; None: it is not."""
    if isinstance(error, TimedOut):
        # Whoever waited that long once does not want to wait twice as long.
        return None
    if isinstance(error, Unreachable):
        return _FIRST_WAIT * (1 << (retry - 1))
    asked = error.retry_after
    return asked if asked is not None and asked <= _LONGEST_WAIT else None


def _json_of(answer: httpx.Response, url: str) -> Any:
    try:
        return answer.json()
    except ValueError as exc:
        kind = answer.headers.get("content-type", "nothing")
        raise UnexpectedAnswer(f"{url} answered {kind} in place of JSON: is it a CLM service?") from exc


def _error_of(answer: httpx.Response, url: str) -> ClientError:
    status = answer.status_code
    said: dict[str, Any] = {}
    if answer.is_redirect:
        # Not followed: the key would go where nobody meant it to.
        where = answer.headers.get("location", "")
        return UnexpectedAnswer(
            f"{url} sends one to {where[:200]!r}", status=status, title=answer.reason_phrase
        )
    try:
        found = answer.json()
    except ValueError:
        found = None
    if isinstance(found, Mapping) and answer.headers.get("content-type", "").startswith(_PROBLEM):
        said = dict(found)
    return BY_STATUS.get(status, ClientError)(
        str(said.get("detail") or f"{url} answered without saying more"),
        status=status,
        title=str(said.get("title") or answer.reason_phrase),
        kind=str(said.get("type") or "about:blank"),
        retry_after=_seconds(answer.headers.get("retry-after")),
        members=said,
    )


def _seconds(retry_after: str | None) -> float | None:
    """What `Retry-After` says: seconds, or the moment from which on (RFC 9110)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
