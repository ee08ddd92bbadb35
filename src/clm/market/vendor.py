"""python-binance's errors and answers, translated to ours in one place."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
import requests
from binance import exceptions as vendor
from binance.client import Client

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

#: Fields of a kline we keep, by their place in the exchange's row.
_FIELDS = {
    "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7, "taker_buy_base": 9,
}  # fmt: skip
_TRADES = 8
_ROW_LENGTH = 12
#: A thousand candles take 150 kB; an answer beyond this is not read to its end.
_LARGEST_ANSWER = 1 << 24

#: What python-binance and requests may raise from a public REST call; a test enumerates their classes.
TRANSLATED: tuple[type[Exception], ...] = (
    vendor.BinanceAPIException,
    vendor.BinanceRequestException,
    requests.exceptions.RequestException,
    AttributeError,
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
    """Our error for the vendor's."""
    match error:
        case vendor.BinanceAPIException():
            return _of_answer(error, series, url)
        case vendor.BinanceRequestException():
            return ExchangeUnavailable(f"{url} answered with something that is not JSON")
        case requests.exceptions.Timeout():
            return ExchangeUnavailable(f"{url} did not answer in time")
        case requests.exceptions.ContentDecodingError():
            return ExchangeUnavailable(f"{url} answered with something that cannot be unpacked or has no end")
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return ExchangeRejected(f"{url} is not an address of an exchange")
        case requests.exceptions.RequestException():
            return ExchangeUnavailable(f"{url} cannot be reached: {type(error).__name__}")
        case _:
            return ExchangeUnavailable(f"{url} answered with an error that python-binance cannot read")


def _of_answer(error: vendor.BinanceAPIException, series: Series, url: str) -> ClmError:
    status, code = int(error.status_code), error.code
    after = _seconds(error.response.headers.get("Retry-After"))
    if status == 418:
        wait = f" for {after:.0f} s" if after is not None else ""
        return ExchangeBanned(f"{url} has banned this address{wait}; asking on would lengthen it", after)
    if status in (403, 429):
        return RateLimited(f"{url} asks us to slow down", after)
    if status >= 500:
        return ExchangeUnavailable(f"{url} answered with HTTP {status}")
    if code == -1121:
        return UnknownSymbol("symbol", series.symbol, f"a symbol that {url} lists")
    if code == -1120:
        return UnknownInterval("interval", series.interval, f"an interval that {url} offers")
    if not code:
        return ExchangeUnavailable(f"{url} answered with HTTP {status} and something that is not JSON")
    return ExchangeRejected(f"{url} refused the request: {error.message} (code {code})", code)


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


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After; None for what is no time to wait, such as a date or `nan`."""
    try:
        seconds = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None
