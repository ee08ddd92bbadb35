"""Weights, faults, latency and the control panel: what a rehearsal needs to go wrong on purpose."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from clm.core.errors import BadInput
from clm.exchange.app import Exchange, create_app
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import KINDS, FaultPlan
from clm.exchange.server import ExchangeServer
from support.exchange import NOW, serving, walk_market

MARKET, _ = walk_market(200)
ASK = {"symbol": "BTCUSDT", "interval": "1h", "limit": "20"}


def _klines(server: ExchangeServer) -> httpx.Response:
    return httpx.get(f"{server.url}/api/v3/klines", params=ASK, timeout=5)


class TestFaults:
    """Each one, as python would meet it."""

    @pytest.mark.parametrize(
        ("kind", "status", "retry_after"),
        [("429", 429, "1"), ("418", 418, "1"), ("500", 500, None), ("502", 502, None), ("html", 200, None)],
    )
    def test_that_answer_instead_of_the_exchange(
        self, kind: str, status: int, retry_after: str | None
    ) -> None:
        with serving(MARKET) as server:
            server.set_faults(f"{kind}@1")
            spoilt, healed = _klines(server), _klines(server)

        assert (spoilt.status_code, spoilt.headers.get("Retry-After")) == (status, retry_after)
        assert ("html" in spoilt.text) == (kind in ("502", "html"))
        assert len(healed.json()) == 20

    def test_that_spoil_the_body(self) -> None:
        with serving(MARKET) as server:
            sound = _klines(server).json()
            server.set_faults("cut@1,empty@2,duplicate@3,gap@4,revise@5")
            cut, empty, duplicate, gap, revised = (_klines(server) for _ in range(5))

        with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
            cut.json()
        assert empty.content == b""
        assert len(duplicate.json()) == 21
        assert len(gap.json()) == 19
        different = [i for i, (a, b) in enumerate(zip(sound, revised.json(), strict=True)) if a != b]
        assert different == [17, 18, 19]

    def test_that_keep_one_waiting(self) -> None:
        with serving(MARKET) as server:
            server.set_faults(FaultPlan.parse("timeout@1", timeout_seconds=0.5))
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{server.url}/api/v3/klines", params=ASK, timeout=0.1)

    def test_that_come_by_chance_come_the_same_for_the_same_seed(self) -> None:
        def drawn(seed: int) -> list[frozenset[str]]:
            plan = FaultPlan.parse("500:0.3,revise:0.1", seed=seed)
            return [plan.next() for _ in range(200)]

        assert drawn(1) == drawn(1) != drawn(2)
        assert 30 < sum("500" in faults for faults in drawn(1)) < 90

    def test_that_come_in_a_range(self) -> None:
        plan = FaultPlan.parse("500@2-3, 429")

        assert [sorted(plan.next()) for _ in range(4)] == [["429"], ["429", "500"], ["429", "500"], ["429"]]

    @pytest.mark.parametrize("text", ["explode", "500@", "500:2", "500:x", "@3", "500@1@2", "500:1.2.3"])
    def test_that_nobody_knows_are_refused_by_their_part(self, text: str) -> None:
        with pytest.raises(BadInput, match=KINDS[0]):
            FaultPlan.parse(f"429@1,{text}")


class TestWeights:
    def test_are_counted_per_minute_and_told_in_the_headers(self) -> None:
        minute = [0.0]
        exchange = Exchange(MARKET, ExchangeClock(NOW, 0), weight_limit=10, wall=lambda: minute[0])
        transport = httpx.ASGITransport(app=create_app(exchange))

        async def ask(path: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://exchange") as client:
                return await client.get(path, params=ASK)

        import asyncio

        first = asyncio.run(ask("/api/v3/klines"))
        used = [asyncio.run(ask("/api/v3/klines")).headers["x-mbx-used-weight-1m"] for _ in range(4)]
        above = asyncio.run(ask("/api/v3/time"))
        minute[0] = 61
        later = asyncio.run(ask("/api/v3/time"))

        assert first.headers["x-mbx-used-weight"] == "2"
        assert used == ["4", "6", "8", "10"]
        assert (above.status_code, above.json()["code"], above.headers["Retry-After"]) == (429, -1003, "60")
        assert (later.status_code, later.headers["x-mbx-used-weight"]) == (200, "1")

    def test_who_goes_on_after_429_is_banned(self) -> None:
        with ExchangeServer(MARKET, ExchangeClock(NOW, 0), weight_limit=2) as server:
            answers = [_klines(server).status_code for _ in range(14)]

        assert answers[:2] == [200, 429]
        assert answers[-1] == 418


class TestControl:
    def test_moves_the_clock_and_sets_faults(self) -> None:
        with serving(MARKET) as server:

            def steer(**order: Any) -> httpx.Response:
                return httpx.post(f"{server.url}/control", json=order)

            state = steer(advance_hours=-0, speed=0, faults="500@1", weight_limit=100, latency=0.05).json()
            began = time.monotonic()
            spoilt = _klines(server).status_code
            waited = time.monotonic() - began
            refused = [
                steer(explode=1), steer(faults="explode"), steer(set="yesterday"), steer(speed="fast"),
                steer(set="2020-01-01T00:00:00Z"),
            ]  # fmt: skip

        assert (state["speed"], state["weight_limit"], state["now"]) == (0, 100, NOW.isoformat())
        assert spoilt == 500
        assert waited >= 0.05
        assert [answer.status_code for answer in refused] == [422] * 5
        assert "explode" in refused[0].json()["error"]

    def test_tells_what_was_asked(self) -> None:
        with serving(MARKET) as server:
            _klines(server)
            state = httpx.get(f"{server.url}/control").json()

            assert state["requests"] == 1
            assert server.requests[0].params == ASK
