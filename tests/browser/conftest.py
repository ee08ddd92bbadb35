"""A real browser over a real `clm serve`. Skipped, with the reason, where there is no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from clm.exchange.server import ExchangeServer
from tests.support.exchange import serving, simulated
from tests.support.shell import Shell, serving_clm, shell_in
from tests.support.waiting import LIMIT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READ, ADMIN = "a-key-that-reads-0001", "a-key-that-may-all-0001"


@dataclass
class Window:
    """An open page, and what must not happen on it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def logged_in(self, key: str) -> Page:
        """The first page, once this key has been given."""
        self.page.goto(self.url)
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("h1")
        return self.page

    def open(self, path: str) -> Page:
        """The page, once its heading is there."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1")
        return self.page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    expect.set_options(timeout=LIMIT * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def at_rest(folder: Path, **environment: str) -> Iterator[tuple[Shell, ExchangeServer]]:
    """A shell beside an exchange, whose service does nothing unless it is asked to."""
    with serving(simulated()) as exchange:
        yield resting_shell(folder, exchange, **environment), exchange


def resting_shell(folder: Path, exchange: ExchangeServer, **environment: str) -> Shell:
    """Its service does nothing unless it is asked to."""
    shell = shell_in(folder, exchange)
    shell.environment |= {"CLM_SCHEDULE": "off", "CLM_LIVE_SHADOW": "false", **environment}
    return shell


@pytest.fixture(scope="session")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, ExchangeServer]]:
    """Where `served` is, and its exchange."""
    folder = tmp_path_factory.mktemp("browser")
    with at_rest(folder, CLM_PROMOTION_POLICY="newest", CLM_RATE_LIMIT_PER_MINUTE="0") as found:
        yield found


@pytest.fixture(scope="session")
def served(resting: tuple[Shell, ExchangeServer]) -> Iterator[str]:
    """BTCUSDT has two versions of each model; nobody needs a key."""
    shell, _ = resting
    for _ in range(2):
        assert shell("retrain", "--force").returncode == 0
    with serving_clm(shell, shell.folder / "log") as (_, url):
        httpx.get(f"{url}/api/clm/shadow", timeout=LIMIT)
        yield url


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """It has no champion and wants a key of everybody."""
    folder = tmp_path_factory.mktemp("locked")
    with (
        at_rest(folder, CLM_API_KEY=f"read:{READ},admin:{ADMIN}") as (shell, _),
        serving_clm(shell, folder / "log") as (_, url),
    ):
        yield url


def window_on(browser: Browser, url: str, **options: Any) -> tuple[BrowserContext, Window]:
    context = browser.new_context(**options)
    context.set_default_timeout(LIMIT * 1000)
    window = Window(context.new_page(), url)
    page, wrong = window.page, window.wrong
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    inside = (url, url.replace("http:", "ws:"), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(inside) else wrong.append(f"outside: {r.url}"))
    return context, window


@pytest.fixture
def window(chromium: Browser, served: str, request: pytest.FixtureRequest) -> Iterator[Window]:
    """On the service without keys. No error in the console, no request to anywhere else."""
    context, found = window_on(chromium, served, **getattr(request, "param", {}))
    yield found
    context.close()
    assert found.wrong == []


@pytest.fixture
def stranger(chromium: Browser, locked: str) -> Iterator[Window]:
    """On the service that wants a key, without one."""
    context, found = window_on(chromium, locked)
    yield found
    context.close()
    assert [said for said in found.wrong if "401" not in said] == []
