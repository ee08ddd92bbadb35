"""python-binance's errors and answers, translated to ours in one place."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import requests
from binance import exceptions as vendor
from binance.client import Client
from requests.utils import get_environ_proxies, select_proxy

from clm.core.domain import Series
from clm.core.errors import (
    ClmError,
    ExchangeBanned,
    ExchangeRejected,
    ExchangeUnavailable,
    RateLimited,
    UnknownInterval,
    UnknownSymbol,
)
from clm.core.text import mask_url
from clm.market.pace import retry_after

#: Fields of a kline we keep, by their place in the exchange's row.
_FIELDS = {
    "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7, "taker_buy_base": 9,
}  # fmt: skip
_TRADES = 8
_ROW_LENGTH = 12
#: A thousand candles take 150 kB; an answer beyond this is not read to its end.
_LARGEST_ANSWER = 1 << 24

#: Of somebody else's words; of a page that is looked into.
_SHOWN, _PAGE = 200, 20_000
#: Refusals that asking again does not change, and what may.
_LASTING = {
    401: "CLM_BINANCE_URL may name an exchange that wants a key, or a proxy in between does",
    403: "a firewall before the exchange does not let this address or this request through; another address, "
    "or CLM_BINANCE_URL=https://data-api.binance.vision, may do",
    404: "CLM_BINANCE_URL may name something that is no exchange",
    407: "the proxy of this environment wants a password",
    451: "the exchange does not serve the place this machine is in; CLM_BINANCE_URL=https://api.binance.us "
    "or https://data-api.binance.vision may",
}
#: What python-binance and requests may raise from a public REST call; a test enumerates their classes.
TRANSLATED: tuple[type[Exception], ...] = (
    vendor.BinanceAPIException,
    vendor.BinanceRequestException,
    requests.exceptions.RequestException,
    AttributeError,
    # A bundle of certificates that is not there.
    OSError,
    # JSON that nests without end.
    RecursionError,
)


def open_client(base_url: str, timeout: tuple[float, float]) -> Client:
    """A client that asks `base_url`. timeout: seconds to connect and to read.

    The vendor gives every client an event loop for websockets that nothing here uses, and takes or makes one
    in the calling thread. Made in a thread of its own the client leaves the caller's loop alone, and its own
    is closed at once.
    """

    def make() -> Client:
        client = Client(ping=False, requests_params={"timeout": timeout, "stream": True})
        client.session.hooks["response"].append(_read_within_bounds)
        client.API_URL = f"{base_url}/api"
        client.loop.close()
        return client

    with ThreadPoolExecutor(max_workers=1) as apart:
        return apart.submit(make).result()


@contextmanager
def limited(client: Client, seconds: float | None) -> Iterator[None]:
    """Inside, an answer may take so long; None: as long as usual. A client belongs to one thread."""
    usual = client._requests_params
    if seconds is not None:
        client._requests_params = {**(usual or {}), "timeout": seconds}
    try:
        yield
    finally:
        client._requests_params = usual


def _read_within_bounds(response: requests.Response, *_: object, **__: object) -> requests.Response:
    """The answer with its body read, unless that has no end. Raises ContentDecodingError then."""
    body = bytearray()
    try:
        for chunk in response.iter_content(1 << 16):
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                raise requests.exceptions.ContentDecodingError(f"more than {_LARGEST_ANSWER} bytes")
    except BaseException:
        response.close()
        raise
    response._content = bytes(body)
    return response


def translate(error: Exception, series: Series, url: str) -> ClmError:
    """Our error for the vendor's. url: that was asked; it is told without its password."""
    url = mask_url(url)
    match error:
        case vendor.BinanceAPIException():
            return _of_answer(error, series, url)
        case vendor.BinanceRequestException():
            return ExchangeUnavailable(f"{url} answered with something that is not JSON")
        case OSError() if not isinstance(error, requests.exceptions.RequestException):
            return _of_this_machine(error, url)
        case requests.exceptions.InvalidSchema() if "SOCKS" in str(error):
            return ExchangeRejected(
                f"{url} is to be asked through a SOCKS proxy ({_proxy_of(url)}), which needs a package that "
                "is not installed: pip install pysocks"
            )
        case requests.exceptions.InvalidURL() if _proxy_of(url):
            return ExchangeRejected(
                f"{url} cannot be asked: the proxy {_proxy_of(url)!r} of this environment (HTTPS_PROXY, "
                "HTTP_PROXY, ALL_PROXY) is no address of a proxy"
            )
        case requests.exceptions.ProxyError():
            return ExchangeUnavailable(
                f"{url} cannot be reached: the proxy {_proxy_of(url)!r} of this environment does not answer "
                "or refuses"
            )
        case requests.exceptions.SSLError():
            return _of_encryption(error, url)
        case requests.exceptions.Timeout():
            return ExchangeUnavailable(f"{url} did not answer in time")
        case requests.exceptions.ContentDecodingError():
            return ExchangeUnavailable(f"{url} answered with something that cannot be unpacked or has no end")
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return ExchangeRejected(f"{url} is not an address of an exchange")
        case requests.exceptions.TooManyRedirects():
            return ExchangeUnavailable(f"{url} leads from one address to the next without end")
        case requests.exceptions.RequestException():
            return ExchangeUnavailable(f"{_asked(error, url)} cannot be reached: {_cause(error)}")
        case _:
            return ExchangeUnavailable(f"{url} answered with an error that python-binance cannot read")


def _of_encryption(error: requests.exceptions.SSLError, url: str) -> ClmError:
    """What went wrong before a word was said: theirs, this machine's, or that nobody speaks TLS there."""
    said = str(error)
    if "WRONG_VERSION_NUMBER" in said or "HTTP_REQUEST" in said:
        plain = url.replace("https://", "http://", 1)
        return ExchangeRejected(f"{url} does not speak TLS: is it {plain}?")
    if "NO_CERTIFICATE_OR_CRL_FOUND" in said or "PEM lib" in said:
        return ExchangeRejected(
            f"{url} cannot be asked: there is no certificate in {_bundle()}, which REQUESTS_CA_BUNDLE or "
            "CURL_CA_BUNDLE names"
        )
    if "CERTIFICATE_VERIFY_FAILED" in said or "doesn't match" in said:
        return ExchangeRejected(
            f"{url} cannot be trusted: its certificate does not check out against "
            f"{_bundle() or 'the usual authorities'}: {_short(error)}"
        )
    return ExchangeUnavailable(f"{url} cannot be spoken to by TLS: {_cause(error)}")


def _asked(error: requests.exceptions.RequestException, url: str) -> str:
    """Who did not answer: where the exchange sent us elsewhere, that place too."""
    place = getattr(error.request, "url", None) or url
    asked = urlsplit(place)
    if asked.netloc.rpartition("@")[2] == urlsplit(url).netloc.rpartition("@")[2]:
        return url
    return f"{mask_url(f'{asked.scheme}://{asked.netloc}')}, where {url} sends whoever asks,"


def _cause(error: Exception) -> str:
    """The innermost of what `requests` wraps, in the system's words."""
    inner: BaseException | None = error
    words = ""
    seen = 0
    while inner is not None and seen < 10:
        if isinstance(inner, OSError) and inner.strerror:
            words = inner.strerror
        reason = getattr(inner, "reason", None)
        first = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        inner = reason if isinstance(reason, BaseException) else first or inner.__cause__ or inner.__context__
        seen += 1
    return _printed(words) if words else type(error).__name__


def _of_this_machine(error: OSError, url: str) -> ClmError:
    """What `requests` raises as it is: a bundle of certificates that is not there."""
    bundle = _bundle()
    if bundle and not os.path.exists(bundle):
        return ExchangeRejected(
            f"{url} cannot be asked: there are no certificates at {bundle}, which REQUESTS_CA_BUNDLE or "
            "CURL_CA_BUNDLE names"
        )
    return ExchangeUnavailable(f"{url} cannot be reached: {_short(error)}")


def _bundle() -> str | None:
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")


def _proxy_of(url: str) -> str:
    """The proxy this environment names for an address, its password masked."""
    return mask_url(select_proxy(url, get_environ_proxies(url)) or "")


def _short(error: Exception) -> str:
    """An error's first words: what `requests` wraps, it tells at length."""
    return _printed(str(error) or type(error).__name__)


def _of_answer(error: vendor.BinanceAPIException, series: Series, url: str) -> ClmError:
    status, code = int(error.status_code), error.code
    said = _words_of(error)
    after = retry_after(error.response.headers)
    if after is None and status in (418, 429):
        after = _until(said)
    if status == 418:
        wait = f" for {after:.0f} s" if after is not None else ""
        return ExchangeBanned(
            f"{url} has banned this address{wait}{said}; asking on would lengthen it", after
        )
    if status == 429 or (status == 403 and after is not None):
        return RateLimited(f"{url} asks us to slow down{said}", after)
    if status >= 500 and after:
        return RateLimited(f"{url} answered with HTTP {status}{said} and asks us to come again", after)
    if status >= 500:
        return ExchangeUnavailable(f"{url} answered with HTTP {status}{said}")
    if code == -1121:
        return UnknownSymbol("symbol", series.symbol, f"a symbol that {url} lists")
    if code == -1120:
        return UnknownInterval("interval", series.interval, f"an interval that {url} offers")
    if status in _LASTING:
        return ExchangeRejected(f"{url} refused the request: HTTP {status}{said}; {_LASTING[status]}", code)
    if not code:
        return ExchangeUnavailable(
            f"{url} answered with HTTP {status}{said or ' and something that is not JSON'}"
        )
    return ExchangeRejected(f"{url} refused the request: {error.message} (code {code})", code)


def _until(said: str) -> float | None:
    """Seconds until the moment that Binance names in words, in milliseconds: "IP banned until 1733…"."""
    found = re.search(r"until (\d{13})(?!\d)", said)
    return max(0.0, int(found.group(1)) / 1000 - time.time()) if found else None


def _words_of(error: vendor.BinanceAPIException) -> str:
    """What an answer says besides its status: the exchange's message, a page's title, or nothing."""
    try:
        told = error.response.json()
    except ValueError:
        title = re.search(r"<title>([^<]{1,200})</title>", error.response.text[:_PAGE], re.IGNORECASE)
        return f" and a page: {_printed(title.group(1))}" if title else ""
    message = told.get("msg") if isinstance(told, dict) else None
    return f": {_printed(message)}" if isinstance(message, str) and message.strip() else ""


def _printed(text: str) -> str:
    """Somebody else's words on one line, without what a terminal would act upon."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"


def candles_of(answer: Any, series: Series, url: str) -> pd.DataFrame:
    """A page of klines as a frame, in its own order. Raises ExchangeUnavailable for what is no such page."""
    if not isinstance(answer, list) or any(
        not isinstance(row, list) or len(row) != _ROW_LENGTH for row in answer
    ):
        what = "an empty body" if answer == {} else "something that is no list of candles"
        raise ExchangeUnavailable(f"{url} answered with {what} for {series}")
    try:
        # Column by column: a page is parsed in a millisecond or two.
        fields = list(zip(*answer, strict=True)) or [()] * _ROW_LENGTH
        opens = np.array(_only(fields[0], int), dtype="int64")
        columns = {
            name: np.array([float(value) for value in _only(fields[i], str, int, float)], dtype="float64")
            for name, i in _FIELDS.items()
        }
        trades = np.array(_only(fields[_TRADES], int), dtype="int64")
    except (ValueError, TypeError, OverflowError) as exc:
        raise ExchangeUnavailable(f"{url} answered with a candle that holds no numbers ({exc})") from exc
    index = pd.DatetimeIndex(opens.astype("datetime64[ms]"), name="open_time").tz_localize("UTC")
    return pd.DataFrame({**columns, "trades": trades}, index=index, copy=False)


def _only(values: Sequence[Any], *allowed: type) -> Sequence[Any]:
    """Themselves, where each is of such a type and no other: true and false are no numbers here.

    Counts and stamps are whole numbers, as JSON has them: nothing is cut off a fraction. Prices and amounts
    the exchange writes as text.
    """
    if not set(map(type, values)) <= set(allowed):
        stranger = next(value for value in values if type(value) not in allowed)
        what = "whole number" if allowed == (int,) else "number"
        raise TypeError(f"{stranger!r:.40} is no {what}")
    return values
