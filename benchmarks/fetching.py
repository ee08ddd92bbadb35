"""`make bench-fetch`: a long history 50 ms away over HTTP: ours, python-binance's own way, ccxt's loop.

100,000 one-minute candles from `clm exchange` in a process of its own; ours are validated and stored as well.
`--sustained` fetches ten symbols by two processes for longer than two minutes of the exchange's weight limit,
against the most that this limit allows; `--weight-limit` sets another than Binance's, of which we keep to the
same share, for a machine that is busy otherwise. Exit code 1 when a limit is missed, or anything was answered
with 429.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

import httpx

from benchmarks.asking import free_port, until_it_answers
from benchmarks.peers import environment_with
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
from clm.telemetry import set_up_logging

NOW = datetime(2024, 6, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_LEAST = {"python-binance": 30.0, "ccxt": 5.0}
_ROUNDS = 3
_TEN = tuple(f"C{number}USDT" for number in range(10))
#: Units of weight of a thousand candles; the share of the limit we keep to, and the least that comes of it.
_PAGE_WEIGHT, _KEPT_TO, _LEAST_SHARE = 2, 5500 / 6000, 0.9
_PROCESSES = 2
_CCXT = """
import sys, time, ccxt
url, since, until = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
exchange = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
exchange.urls["api"]["public"] = url + "/api/v3"
exchange.load_markets()
began, rows = time.perf_counter(), []
while since < until:
    page = exchange.fetch_ohlcv("BTC/USDT", "1m", since=since, limit=1000)
    page = [row for row in page if row[0] < until]
    if not page:
        break
    rows += page
    since = page[-1][0] + 60_000
print(len(rows), time.perf_counter() - began)
"""


@contextmanager
def exchange(
    candles: int, symbols: tuple[str, ...] = ("BTCUSDT",), weight_limit: int = 6000
) -> Iterator[str]:
    """`clm exchange` with so many minutes of history, 50 ms away; its address."""
    port = free_port()
    command = [
        sys.executable, "-m", "clm", "exchange", "--simulate", "--symbols", ",".join(symbols),
        "--interval", "1m", "--days", str(candles / 1440 + 5), "--start-time", f"{NOW:%Y-%m-%d}",
        "--speed", "0", "--latency", "0.05", "--port", str(port), "--weight-limit", str(weight_limit),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until_it_answers(f"{url}/api/v3/ping", 600)
        yield url
    finally:
        process.terminate()
        process.wait()


def ours(url: str, candles: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        client = BinanceDataClient(interval="1m", base_url=url, data_dir=folder)
        client.server_time()
        began = time.perf_counter()
        frame = client.load_training_data(NOW - candles * _MINUTE, NOW)
        seconds = time.perf_counter() - began
        client.close()
    return _all(len(frame), candles, seconds)


def python_binance(url: str, candles: int) -> float:
    from binance.client import Client

    client = Client(ping=False)
    client.API_URL = f"{url}/api"
    start, end = (int(moment.timestamp() * 1000) for moment in (NOW - candles * _MINUTE, NOW))
    began = time.perf_counter()
    rows = client.get_historical_klines("BTCUSDT", "1m", start, end - 1)
    return _all(len(rows), candles, time.perf_counter() - began)


def ccxt(url: str, candles: int) -> float:
    start, end = (int(moment.timestamp() * 1000) for moment in (NOW - candles * _MINUTE, NOW))
    python = environment_with("ccxt", ("ccxt",)) / "python"
    done = subprocess.run(
        [python, "-c", _CCXT, url, str(start), str(end)], check=True, capture_output=True, text=True
    )
    rows, seconds = done.stdout.split()
    return _all(int(rows), candles, float(seconds))


def _all(rows: int, candles: int, seconds: float) -> float:
    if rows != candles:
        raise RuntimeError(f"{rows:,} candles instead of {candles:,}")
    return seconds


def history(url: str, folder: str, symbol: str, candles: int, budget: int) -> int:
    """Fetches and stores that many minutes of a symbol; how many there are."""
    pace = Pace(weight_budget=budget)
    client = BinanceDataClient(symbol, "1m", base_url=url, data_dir=folder, pace=pace)
    try:
        return len(client.load_training_data(NOW - candles * _MINUTE, NOW))
    finally:
        client.close()


def sustained(weight_limit: int) -> int:
    """Prints candles a minute of ten symbols; 1 where they are too few, or a 429 was answered."""
    budget, ceiling = int(weight_limit * _KEPT_TO), 1000 * weight_limit // _PAGE_WEIGHT
    # A little more than two minutes of our budget allow: the last of them wait for the third.
    each = int(2.01 * 1000 * budget / _PAGE_WEIGHT / len(_TEN))
    with (
        exchange(each, _TEN, weight_limit) as url,
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool,
    ):
        # Neither the processes' beginning nor their imports count.
        list(pool.map(_settle, range(_PROCESSES)))
        began = time.perf_counter()
        asked = [(url, folder, symbol, each, budget) for symbol in _TEN]
        fetched = sum(pool.map(history, *zip(*asked, strict=True)))
        seconds = _all(fetched, each * len(_TEN), time.perf_counter() - began)
        refused = _refused(url)
    rate = fetched / seconds * 60
    share = rate / ceiling
    print(
        f"{'ten symbols, two processes':<28} {seconds:6.1f} s   {rate:,.0f} candles a minute, {share:.1%} of "
        f"{ceiling:,}, ≥ {_LEAST_SHARE:.0%}"
    )
    print(f"{'answers with 429':<28} {refused:6d}")
    return int(refused > 0 or share < _LEAST_SHARE)


def _settle(_: int) -> None:
    import binance.client  # noqa: F401

    set_up_logging("error")
    time.sleep(2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=int, default=100_000)
    parser.add_argument("--sustained", action="store_true")
    parser.add_argument("--weight-limit", type=int, default=6000)
    given = parser.parse_args()
    if given.sustained:
        return sustained(given.weight_limit)
    peers: dict[str, Callable[[str, int], float]] = {"python-binance": python_binance, "ccxt": ccxt}
    with exchange(given.candles) as url:
        own = min(ours(url, given.candles) for _ in range(_ROUNDS))
        taken = {name: peer(url, given.candles) for name, peer in peers.items()}
        refused = _refused(url)
    print(f"{'ours, validated and stored':<28} {own:6.2f} s   {given.candles:,} candles, best of {_ROUNDS}")
    for name, seconds in taken.items():
        print(f"{name:<28} {seconds:6.2f} s   {seconds / own:5.1f} times ours, ≥ {_LEAST[name]:g}")
    print(f"{'answers with 429':<28} {refused:6d}")
    return int(refused > 0 or any(seconds / own < _LEAST[name] for name, seconds in taken.items()))


def _refused(url: str) -> int:
    return sum(seen["status"] == 429 for seen in httpx.get(f"{url}/control/requests").json())


if __name__ == "__main__":
    sys.exit(main())
