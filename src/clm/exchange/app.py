"""Binance's public spot REST as an ASGI app, and a control panel under `/control` for rehearsals."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clm.core.errors import BadInput
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.market import STEP_MS, Market, Row

_WEIGHTS = {"/api/v3/ping": 1, "/api/v3/time": 1, "/api/v3/klines": 2, "/api/v3/exchangeInfo": 20}
_MAX_LIMIT = 1000
#: Who goes on so many times after the first 429 of a minute is banned for a while, as Binance does.
_PATIENCE = 10
_BAN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Seen:
    """One request the exchange answered."""

    path: str
    params: Mapping[str, str]
    status: int
    faults: frozenset[str] = frozenset()


class _Refused(Exception):
    """Binance's own error answer."""

    def __init__(self, status: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class Exchange:
    """State behind the routes: market, clock, faults, request weights, and the log of requests."""

    def __init__(
        self,
        market: Market,
        clock: ExchangeClock,
        *,
        faults: FaultPlan | None = None,
        latency: float = 0.0,
        weight_limit: int = 6000,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.market, self.clock = market, clock
        self.faults = faults or FaultPlan()
        self.latency, self.weight_limit = latency, weight_limit
        self.requests: list[Seen] = []
        self._wall = wall
        self._lock = threading.Lock()
        self._minute, self._weight, self._refused, self._banned_until = 0, 0, 0, 0.0

    def spend(self, weight: int) -> int:
        """Books a request's weight; answers what this minute has used. Raises _Refused above the limit."""
        with self._lock:
            now = self._wall()
            if now < self._banned_until:
                left = int(self._banned_until - now) + 1
                raise _Refused(418, -1003, "Way too much request weight used; IP banned.", left)
            minute = int(now // 60)
            if minute != self._minute:
                self._minute, self._weight, self._refused = minute, 0, 0
            if self._weight + weight > self.weight_limit:
                self._refused += 1
                if self._refused > _PATIENCE:
                    self._banned_until = now + _BAN_SECONDS
                wait = 60 - int(now % 60)
                raise _Refused(429, -1003, "Too much request weight used; current limit exceeded.", wait)
            self._weight += weight
            return self._weight

    def now_ms(self) -> int:
        return int(self.clock.now().timestamp() * 1000)


def create_app(exchange: Exchange) -> Starlette:
    """The ASGI app around `exchange`."""

    async def answer(request: Request) -> Response:
        if exchange.latency:
            await asyncio.sleep(exchange.latency)
        path = request.url.path
        faults = exchange.faults.next() if path == "/api/v3/klines" else frozenset[str]()
        try:
            used = exchange.spend(_WEIGHTS[path])
            _spoil_before(faults, exchange.faults)
            body = _BODIES[path](exchange, request.query_params)
            response = await _spoil_body(body, faults, exchange.faults)
        except _Refused as refusal:
            used = exchange.weight_limit
            response = JSONResponse({"code": refusal.code, "msg": refusal.message}, refusal.status)
            if refusal.retry_after is not None:
                response.headers["Retry-After"] = str(refusal.retry_after)
        response.headers["x-mbx-used-weight"] = response.headers["x-mbx-used-weight-1m"] = str(used)
        exchange.requests.append(Seen(path, dict(request.query_params), response.status_code, faults))
        return response

    async def control(request: Request) -> Response:
        order = await request.json() if request.method == "POST" else {}
        try:
            _obey(exchange, order)
        except BadInput as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(
            {
                "now": exchange.clock.now().isoformat(), "speed": exchange.clock.speed,
                "symbols": exchange.market.symbols(), "requests": len(exchange.requests),
                "weight_limit": exchange.weight_limit, "latency": exchange.latency,
                "faults": [str(fault) for fault in exchange.faults.faults],
            }
        )  # fmt: skip

    routes = [Route(path, answer, methods=["GET"]) for path in _WEIGHTS]
    return Starlette(routes=[*routes, Route("/control", control, methods=["GET", "POST"])])


def _obey(exchange: Exchange, order: Mapping[str, Any]) -> None:
    """`{"set": "2024-05-01T00:00:00Z"}`, `{"advance_hours": 24}`, `{"speed": 3600}`, `{"faults": "429@1"}`,
    `{"weight_limit": 100}`, `{"latency": 0.1}`; several at once are obeyed in this order."""
    allowed = ("set", "advance_hours", "speed", "faults", "weight_limit", "latency")
    for name in order:
        if name not in allowed:
            raise BadInput("control", name, ", ".join(allowed))
    try:
        if "set" in order:
            exchange.clock.set(datetime.fromisoformat(order["set"]))
        if "advance_hours" in order:
            exchange.clock.advance(timedelta(hours=float(order["advance_hours"])))
        if "speed" in order:
            exchange.clock.run_at(float(order["speed"]))
        if "faults" in order:
            exchange.faults = FaultPlan.parse(str(order["faults"]))
        exchange.weight_limit = int(order.get("weight_limit", exchange.weight_limit))
        exchange.latency = float(order.get("latency", exchange.latency))
    except (TypeError, ValueError) as exc:
        if isinstance(exc, BadInput):
            raise
        raise BadInput("control", str(dict(order)), f"numbers and ISO times ({exc})") from exc


def _ping(exchange: Exchange, params: Mapping[str, str]) -> object:
    return {}


def _time(exchange: Exchange, params: Mapping[str, str]) -> object:
    return {"serverTime": exchange.now_ms()}


def _exchange_info(exchange: Exchange, params: Mapping[str, str]) -> object:
    if "symbol" in params:
        wanted = [params["symbol"]]
    elif "symbols" in params:
        try:
            wanted = [str(name) for name in json.loads(params["symbols"])]
        except (ValueError, TypeError):
            raise _illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$') from None
    else:
        wanted = list(exchange.market.symbols())
    for name in wanted:
        if name not in exchange.market.symbols():
            raise _Refused(400, -1121, "Invalid symbol.")
    limits = [
        {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": exchange.weight_limit,
        }
    ]
    listed = [
        {
            "symbol": name, "status": "TRADING", "baseAsset": name.removesuffix("USDT"), "quoteAsset": "USDT",
            "baseAssetPrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"],
            "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "filters": [],
            "permissions": ["SPOT"],
        }
        for name in wanted
    ]  # fmt: skip
    return {
        "timezone": "UTC", "serverTime": exchange.now_ms(), "rateLimits": limits, "exchangeFilters": [],
        "symbols": listed,
    }  # fmt: skip


def _klines(exchange: Exchange, params: Mapping[str, str]) -> list[Row]:
    for name in ("symbol", "interval"):
        if not params.get(name):
            raise _Refused(
                400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
    symbol, interval = params["symbol"], params["interval"]
    if not re.fullmatch(r"[A-Z0-9-_.]{1,20}", symbol):
        raise _illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
    if symbol not in exchange.market.symbols():
        raise _Refused(400, -1121, "Invalid symbol.")
    if interval not in STEP_MS or not exchange.market.has_interval(symbol, interval):
        raise _Refused(400, -1120, "Invalid interval.")
    numbers = {name: _number(params, name) for name in ("startTime", "endTime", "limit")}
    limit = 500 if numbers["limit"] is None else numbers["limit"]
    if limit == 0:
        raise _Refused(400, -1130, "Data sent for parameter 'limit' is not valid.")
    return exchange.market.rows(
        symbol, interval, numbers["startTime"], numbers["endTime"], min(limit, _MAX_LIMIT), exchange.now_ms()
    )


def _number(params: Mapping[str, str], name: str) -> int | None:
    if name not in params:
        return None
    if not re.fullmatch(r"\d{1,20}", params[name]):
        raise _illegal(name, "^[0-9]{1,20}$")
    return int(params[name])


def _illegal(name: str, legal: str) -> _Refused:
    return _Refused(400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


_BODIES: Mapping[str, Callable[[Exchange, Mapping[str, str]], object]] = {
    "/api/v3/ping": _ping,
    "/api/v3/time": _time,
    "/api/v3/klines": _klines,
    "/api/v3/exchangeInfo": _exchange_info,
}


def _spoil_before(faults: frozenset[str], plan: FaultPlan) -> None:
    """Faults that answer instead of the exchange."""
    if "418" in faults:
        raise _Refused(418, -1003, "Way too much request weight used; IP banned.", plan.retry_after)
    if "429" in faults:
        raise _Refused(429, -1003, "Too much request weight used.", plan.retry_after)
    if "500" in faults:
        raise _Refused(500, -1000, "An unknown error occurred while processing the request.")


async def _spoil_body(body: object, faults: frozenset[str], plan: FaultPlan) -> Response:
    """The answer, spoilt as asked."""
    page = "<html><body><h1>Sorry</h1></body></html>"
    if "timeout" in faults:
        await asyncio.sleep(plan.timeout_seconds)
    if "502" in faults:
        return Response(page, 502, media_type="text/html")
    if "html" in faults:
        return Response(page, media_type="text/html")
    if "empty" in faults:
        return Response(b"", media_type="application/json")
    if isinstance(body, list) and body:
        body = _spoilt_rows(body, faults)
    if "cut" in faults:
        text = json.dumps(body)
        return Response(text[: len(text) // 2], media_type="application/json")
    return JSONResponse(body)


def _spoilt_rows(rows: list[Row], faults: frozenset[str]) -> list[Row]:
    middle = len(rows) // 2
    if "duplicate" in faults:
        rows = [*rows[: middle + 1], *rows[middle:]]
    if "gap" in faults and len(rows) > 2:
        rows = [*rows[:middle], *rows[middle + 1 :]]
    if "revise" in faults:
        rows = [*rows[:-3], *(_revised(row) for row in rows[-3:])]
    return rows


def _revised(row: Row) -> Row:
    """The same candle with a close that is a little nearer to its open: still consistent."""
    opened, close = float(row[1]), float(row[4])
    return [*row[:4], f"{close + 0.1 * (opened - close):.8f}", *row[5:]]
