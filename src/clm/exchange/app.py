"""Binance's public spot REST as an ASGI app, and a control panel under `/control` for rehearsals."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clm.core.errors import BadInput
from clm.exchange import refusals
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.market import STEP_MS, Market, Row
from clm.exchange.refusals import Refused

_WEIGHTS = {"/api/v3/ping": 1, "/api/v3/time": 1, "/api/v3/klines": 2, "/api/v3/exchangeInfo": 20}
_MAX_LIMIT = 1000
#: Who goes on so many times after the first 429 of a minute is banned for a while, as Binance does.
_PATIENCE = 10
_BAN_SECONDS = 120
_KLINES = ("symbol", "interval", "startTime", "endTime", "timeZone", "limit")
_EXCHANGE_INFO = ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus")
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")
#: Closed candles that a `revise` touches.
_REVISED = 3
#: The log of requests forgets the oldest beyond twice so many.
_LOGGED = 50_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One request the exchange answered."""

    path: str
    params: Mapping[str, str]
    status: int
    faults: frozenset[str] = frozenset()


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
        self.stopping = False

    def spend(self, weight: int) -> None:
        """Books a request's weight. Raises Refused: 429 above the limit, 418 for who goes on all the same."""
        with self._lock:
            now = self._wall()
            self._turn(now)
            if now < self._banned_until:
                raise self._ban(now)
            self._weight += weight
            if self._weight <= self.weight_limit:
                return
            self._refused += 1
            if self._refused > _PATIENCE:
                self._banned_until = now + _BAN_SECONDS
                raise self._ban(now)
            limit = f"current limit is {self.weight_limit} request weight per 1 MINUTE."
            raise Refused(429, -1003, f"Too much request weight used; {limit}", 60 - int(now % 60))

    def used(self) -> int:
        """Weight used in this minute."""
        with self._lock:
            self._turn(self._wall())
            return self._weight

    def _turn(self, now: float) -> None:
        if int(now // 60) != self._minute:
            self._minute, self._weight, self._refused = int(now // 60), 0, 0

    def _ban(self, now: float) -> Refused:
        until = f"Way too much request weight used; IP banned until {int(self._banned_until * 1000)}."
        return Refused(418, -1003, until, int(self._banned_until - now) + 1)

    def log(self, seen: Seen) -> None:
        """Adds to the log of requests."""
        self.requests.append(seen)
        if len(self.requests) > 2 * _LOGGED:
            del self.requests[:_LOGGED]

    async def hold(self, seconds: float) -> None:
        """Waits, unless the server stops."""
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))

    def now_ms(self) -> int:
        return int(self.clock.now().timestamp() * 1000)


def create_app(exchange: Exchange) -> Starlette:
    """The ASGI app around `exchange`."""

    async def answer(request: Request) -> Response:
        await exchange.hold(exchange.latency)
        path = request.url.path
        faults = exchange.faults.next() if path == "/api/v3/klines" else frozenset[str]()
        try:
            exchange.spend(_WEIGHTS[path])
            _spoil_before(faults, exchange.faults)
            body = _BODIES[path](exchange, request.query_params)
            response = await _spoil_body(exchange, body, faults)
        except Refused as refusal:
            response = JSONResponse({"code": refusal.code, "msg": refusal.message}, refusal.status)
            if refusal.retry_after is not None:
                response.headers["Retry-After"] = str(refusal.retry_after)
        used = str(exchange.used())
        response.headers["x-mbx-used-weight"] = response.headers["x-mbx-used-weight-1m"] = used
        exchange.log(Seen(path, dict(request.query_params), response.status_code, faults))
        return response

    async def control(request: Request) -> Response:
        try:
            _obey(exchange, await _order(request) if request.method == "POST" else {})
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

    async def seen(request: Request) -> Response:
        return JSONResponse([asdict(seen) | {"faults": sorted(seen.faults)} for seen in exchange.requests])

    routes = [Route(path, answer, methods=["GET"]) for path in _WEIGHTS]
    routes += [Route("/control", control, methods=["GET", "POST"]), Route("/control/requests", seen)]
    return Starlette(routes=routes)


async def _order(request: Request) -> Mapping[str, Any]:
    """The JSON object posted. Raises BadInput for anything else."""
    try:
        order = await request.json()
    except ValueError as exc:
        raise BadInput("control", (await request.body())[:80], "a JSON object") from exc
    if not isinstance(order, dict):
        raise BadInput("control", order, "a JSON object")
    return order


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
        if (limit := int(order.get("weight_limit", exchange.weight_limit))) < 1:
            raise BadInput("weight_limit", limit, "1 or more a minute")
        exchange.weight_limit = limit
        exchange.latency = float(order.get("latency", exchange.latency))
    except (TypeError, ValueError) as exc:
        if isinstance(exc, BadInput):
            raise
        raise BadInput("control", str(dict(order)), f"numbers and ISO times ({exc})") from exc


def _ping(exchange: Exchange, params: QueryParams) -> object:
    refusals.check_names(params, ())
    return {}


def _time(exchange: Exchange, params: QueryParams) -> object:
    refusals.check_names(params, ())
    return {"serverTime": exchange.now_ms()}


def _exchange_info(exchange: Exchange, params: QueryParams) -> object:
    refusals.check_names(params, _EXCHANGE_INFO)
    if "symbol" in params and "symbols" in params:
        raise Refused(400, -1128, "Combination of optional parameters invalid.")
    if "symbol" in params:
        wanted = [refusals.symbol(params)]
    else:
        wanted = refusals.symbols(params) if "symbols" in params else list(exchange.market.symbols())
    for name in wanted:
        if name not in exchange.market.symbols():
            raise Refused(400, -1121, "Invalid symbol.")
    limits = [
        {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": exchange.weight_limit,
        }
    ]
    listed = [_listing(name) for name in wanted]
    return {
        "timezone": "UTC", "serverTime": exchange.now_ms(), "rateLimits": limits, "exchangeFilters": [],
        "symbols": listed,
    }  # fmt: skip


def _listing(symbol: str) -> dict[str, object]:
    quote = next((q for q in _QUOTES if symbol.endswith(q) and symbol != q), symbol[-3:])
    return {
        "symbol": symbol, "status": "TRADING", "baseAsset": symbol.removesuffix(quote), "quoteAsset": quote,
        "baseAssetPrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "filters": [],
        "permissions": ["SPOT"],
    }  # fmt: skip


def _klines(exchange: Exchange, params: QueryParams) -> list[Row]:
    refusals.check_names(params, _KLINES)
    symbol, interval = refusals.symbol(params), refusals.mandatory(params, "interval")
    start, end, limit = (refusals.number(params, name) for name in ("startTime", "endTime", "limit"))
    if limit == 0:
        raise Refused(400, -1130, "Data sent for parameter 'limit' is not valid.")
    if params.get("timeZone", "0") not in ("0", "00:00"):
        raise Refused(400, -1130, "Data sent for parameter 'timeZone' is not valid.")  # only UTC here
    if symbol not in exchange.market.symbols():
        raise Refused(400, -1121, "Invalid symbol.")
    if interval not in STEP_MS or not exchange.market.has_interval(symbol, interval):
        raise Refused(400, -1120, "Invalid interval.")
    most = min(limit or 500, _MAX_LIMIT)
    return exchange.market.rows(symbol, interval, start, end, most, exchange.now_ms())


_BODIES: Mapping[str, Callable[[Exchange, QueryParams], object]] = {
    "/api/v3/ping": _ping,
    "/api/v3/time": _time,
    "/api/v3/klines": _klines,
    "/api/v3/exchangeInfo": _exchange_info,
}


def _spoil_before(faults: frozenset[str], plan: FaultPlan) -> None:
    """Faults that answer instead of the exchange."""
    if "418" in faults:
        raise Refused(418, -1003, "Way too much request weight used; IP banned.", plan.retry_after)
    if "429" in faults:
        raise Refused(429, -1003, "Too much request weight used.", plan.retry_after)
    if "500" in faults:
        raise Refused(500, -1000, "An unknown error occurred while processing the request.")


async def _spoil_body(exchange: Exchange, body: object, faults: frozenset[str]) -> Response:
    """The answer, spoilt as asked."""
    page = "<html><body><h1>Sorry</h1></body></html>"
    if "timeout" in faults:
        await exchange.hold(exchange.faults.timeout_seconds)
    if "502" in faults:
        return Response(page, 502, media_type="text/html")
    if "html" in faults:
        return Response(page, media_type="text/html")
    if "empty" in faults:
        return Response(b"", media_type="application/json")
    if isinstance(body, list) and body:
        body = _spoilt_rows(body, faults, exchange.now_ms())
    if "cut" in faults:
        text = json.dumps(body)
        return Response(text[: len(text) // 2], media_type="application/json")
    return JSONResponse(body)


def _spoilt_rows(rows: list[Row], faults: frozenset[str], now: int) -> list[Row]:
    middle = len(rows) // 2
    if "revise" in faults:
        closed = [i for i, row in enumerate(rows) if int(row[6]) < now][-_REVISED:]
        rows = [_revised(row) if i in closed else row for i, row in enumerate(rows)]
    if "duplicate" in faults:
        rows = [*rows[: middle + 1], *rows[middle:]]
    if "gap" in faults and len(rows) > 2:
        rows = [*rows[:middle], *rows[middle + 1 :]]
    return rows


def _revised(row: Row) -> Row:
    """The same candle with a close that is a little nearer to its open: still consistent."""
    opened, close = float(row[1]), float(row[4])
    return [*row[:4], f"{close + 0.1 * (opened - close):.8f}", *row[5:]]
