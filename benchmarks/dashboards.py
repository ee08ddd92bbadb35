"""`make bench-dashboards`: what open dashboards cost the API, among 200 series.

Latency: p99 of GET requests while twenty dashboards are open over p99 while none is, both of the same
service, in turns. The dashboards are the page and its socket as a browser keeps them, in a process of their
own and without drawing: half of them on the first page of the Overview, the others on further pages and on
Shadow.
The first page itself: seconds until its answer is complete, when nobody has asked for it a moment before.
In a headless Chromium, where there is one: when its first card can be read, and the longest that the page
was busy at a stretch while it was read through, page by page.

Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import socketio
from playwright.sync_api import sync_playwright

from benchmarks.rehearsal import NOW, Stage, serve
from benchmarks.service import latencies, p
from clm.bootstrap import Application
from clm.core.book import Source
from clm.core.domain import Decision, Outcome, VersionStatus
from clm.core.runs import RunRequest
from clm.exchange.clock import ExchangeClock
from clm.exchange.market import Market
from clm.exchange.server import ExchangeServer
from clm.exchange.simulate import simulate_market
from clm.settings import Settings
from clm.telemetry import set_up_logging

_SERIES, _DASHBOARDS, _LIVE_HOURS = 200, 20, 240
_MOST_LATENCY, _MOST_SECONDS = 2.0, 1.5
#: Seconds a page may not answer to its reader.
_MOST_BUSY = 0.5
#: Pages of the Overview that are leafed through, and seconds each is read.
_LEAFED, _READ_SECONDS = 5, 3.0
_WATCH_TASKS = """window.clmTasks = [];
new PerformanceObserver(list => list.getEntries().forEach(entry => window.clmTasks.push(entry.duration)))
  .observe({type: "longtask", buffered: true});"""
_MODEL = "lightgbm"
_ASKED = re.compile(r"'client_id': '([^']+)', 'next_message_id': (\d+)")


@contextmanager
def many_series(folder: Path, count: int) -> Iterator[Stage]:
    """So many series, all of one market; each with a champion that forecasts live, and a challenger."""
    market = simulate_market(
        ("BTCUSDT",), "1h", start=NOW - timedelta(days=120), end=NOW + timedelta(days=60), seed=3, signal=0.04
    )
    (tapes,) = market.tapes.values()
    symbols = tuple(f"C{number:04d}USDT" for number in range(count))
    clock = ExchangeClock(NOW, speed=0)
    with ExchangeServer(Market(dict.fromkeys(symbols, tapes), market.seed), clock) as exchange:
        few = {"num_trees": 5, "min_data_in_leaf": 100}
        settings = Settings.load(
            symbols=symbols, models=(_MODEL,), binance_url=exchange.url, db_url=f"sqlite:///{folder}/clm.db",
            model_dir=folder / "models", data_dir=folder / "data", training_lookback_days=90,
            features="basic", schedule="off", live_shadow=False, keep_versions=0, pool_symbols=False,
            training_params={_MODEL: few}, log_level="error",
        )  # fmt: skip
        with Application(settings) as application:
            for days in (0, 8):
                clock.advance(timedelta(days=days))
                outcome = application.run(RunRequest(force=True, symbols=symbols[:1]))
                if outcome.error:
                    raise RuntimeError(outcome.error)
            _copy(application)
        clock.advance(timedelta(hours=_LIVE_HOURS))
        yield Stage(folder, exchange, settings)


def _copy(application: Application) -> None:
    """What was trained for the first series becomes everybody's."""
    first, *others = application.series
    registry = application.registry.for_series(first)
    champion, (challenger,) = registry.get_active(_MODEL), registry.challengers(_MODEL)
    if champion is None:
        raise RuntimeError(f"{first} has no champion")
    made = {a.version: registry.book.forecasts(_MODEL, a.version) for a in (champion, challenger)}
    newest = made[champion.version][-1]
    live = [
        replace(newest, open_time=newest.open_time + timedelta(hours=n), source=Source.LIVE)
        for n in range(1, _LIVE_HOURS + 1)
    ]
    registry.book.record_forecasts(live)
    models = {a.version: registry.load_model(a) for a in (champion, challenger)}
    said = Decision(
        model_type=_MODEL, candidate_version=challenger.version, champion_version=champion.version,
        outcome=Outcome.CONTINUE, label="evidence", policy="evidence", reason="copied",
    )  # fmt: skip
    for series in others:
        own = application.registry.for_series(series)
        for artifact in (champion, challenger):
            own.save_model(replace(artifact, series=series, model=models[artifact.version]))
            own.book.record_forecasts(made[artifact.version])
        own.book.record_forecasts(live)
        own.promote(_MODEL, champion.version, at=champion.promoted_at)
        own.record_decision(said, VersionStatus.SHADOW)


def _paths(count: int) -> list[str]:
    """Half on the first page; of the others every third on Shadow, the rest on further pages."""
    others = [
        f"/shadow?symbol=C{n:04d}USDT&interval=1h&model={_MODEL}" if n % 3 == 0 else f"/?page={2 + n}"
        for n in range(count - count // 2)
    ]
    return ["/"] * (count // 2) + others


def keep_open(url: str, paths: list[str], pipe: Connection) -> None:
    """Opens them, says how many messages have come when asked, and closes them."""
    asyncio.run(_keep_open(url, paths, pipe))


async def _keep_open(url: str, paths: list[str], pipe: Connection) -> None:
    heard = 0

    def hear(*_: object) -> None:
        nonlocal heard
        heard += 1

    sockets = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for path in paths:
            page = await client.get(path)
            told = _ASKED.search(page.raise_for_status().text)
            if told is None:
                raise RuntimeError(f"{path} is no page of the dashboard")
            query = {
                "client_id": told[1], "next_message_id": told[2], "implicit_handshake": "true",
                "document_id": uuid4(), "tab_id": uuid4(),
            }  # fmt: skip
            socket = socketio.AsyncClient()
            socket.on("update", hear)
            await socket.connect(
                f"{url}?{urlencode(query)}", socketio_path="/_nicegui_ws/socket.io", transports=["websocket"]
            )
            sockets.append(socket)
    pipe.send(len(sockets))
    while not pipe.poll():
        await asyncio.sleep(0.05)
    if not all(socket.connected for socket in sockets):
        raise RuntimeError("a dashboard lost its connection")
    for socket in sockets:
        await socket.disconnect()
    pipe.send(heard)


@contextmanager
def dashboards(url: str, count: int) -> Iterator[None]:
    """So many open ones. Raises RuntimeError where one is not open any more at the end, or heard nothing."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=keep_open, args=(url, _paths(count), theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield
        ours.send("close")
        ours.recv()
    except EOFError as error:
        raise RuntimeError("a dashboard could not be opened, or did not stay open") from error
    finally:
        process.join(10)
        process.kill()


@dataclass(frozen=True, slots=True)
class Seen:
    """In a browser. readable: seconds until the first card; busy: of the longest task of each page."""

    readable: list[float]
    busy: list[float]


def in_a_browser(url: str) -> Seen | None:
    """Leafs through the Overview; None without a Chromium on this machine."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return None
    seen = Seen([], [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_init_script(_WATCH_TASKS)
        for number in range(1, _LEAFED + 1):
            page.goto(f"{url}/?page={number}", wait_until="commit")
            page.get_by_role("article").first.wait_for()
            seen.readable.append(page.evaluate("performance.now()") / 1000)
            # To the last card and back, while the page looks for what is new.
            page.get_by_role("article").last.scroll_into_view_if_needed()
            time.sleep(_READ_SECONDS)
            seen.busy.append(max(page.evaluate("window.clmTasks"), default=0.0) / 1000)
        browser.close()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=_SERIES)
    parser.add_argument("--dashboards", type=int, default=_DASHBOARDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=2000, help="requests of each round's measurements")
    given = parser.parse_args()
    set_up_logging("error")
    with tempfile.TemporaryDirectory() as folder, many_series(Path(folder), given.series) as on:
        service = serve(on)
        idle: list[float] = []
        busy: list[float] = []
        pages: list[float] = []
        with httpx.Client(base_url=service.url, timeout=60) as client:
            latencies(client, 200)
            for number in range(given.rounds):
                began = time.perf_counter()
                client.get("/" if number == 0 else f"/?page={number + 1}").raise_for_status()
                pages.append(time.perf_counter() - began)
                time.sleep(3)
                idle += latencies(client, given.sample)
                with dashboards(service.url, given.dashboards):
                    time.sleep(3)
                    busy += latencies(client, given.sample)
        seen = in_a_browser(service.url)
        service.stop(60)
    ratio = p(busy, 0.99) / p(idle, 0.99)
    for name, taken in (("none open", idle), (f"{given.dashboards} open", busy)):
        print(
            f"{name:<12}  p50 {p(taken, 0.5):6.1f} ms  p99 {p(taken, 0.99):6.1f} ms  {len(taken):,} requests"
        )
    print(f"p99 ratio     {ratio:.2f}   ≤ {_MOST_LATENCY:g}")
    print(f"a page        {max(pages):.2f} s   ≤ {_MOST_SECONDS:g}, the slowest of {len(pages)}")
    missed = ratio > _MOST_LATENCY or max(pages) > _MOST_SECONDS
    if seen is None:
        print("in a browser  not looked at: there is no Chromium on this machine")
        return int(missed)
    print(f"readable      {max(seen.readable):.2f} s   ≤ {_MOST_SECONDS:g}, the slowest of {_LEAFED} pages")
    print(f"busy at once  {max(seen.busy):.2f} s   ≤ {_MOST_BUSY:g}, the longest task of any of them")
    return int(missed or max(seen.readable) > _MOST_SECONDS or max(seen.busy) > _MOST_BUSY)


if __name__ == "__main__":
    sys.exit(main())
