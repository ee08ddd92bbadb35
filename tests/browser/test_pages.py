"""Data, drift and replays in a real browser: what they show, and what they say where there is nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import READ, Window, at_rest, window_on
from tests.browser.test_dashboard import DARK, PHONE, findings
from tests.support.replays import scores, written
from tests.support.shell import serving_clm
from tests.support.waiting import LIMIT

DRIFT = "/drift?symbol=BTCUSDT&interval=1h&model=lightgbm"
PAGES = ("/data", DRIFT, "/replays", "/replays?name=spring", "/replays?name=broken")


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """LightGBM was trained on 200 days eight days ago; of three replays one is sound. The address."""
    folder = tmp_path_factory.mktemp("pages")
    long = {"CLM_TRAINING_LOOKBACK_DAYS": "200", "CLM_RETRAIN_INTERVAL_DAYS": "30"}
    with at_rest(folder, **long) as (shell, exchange):
        assert shell("retrain", "--force", "--models", "lightgbm").returncode == 0
        exchange.clock.advance(timedelta(days=8))
        replays = folder / "replay"
        written(
            replays / "spring",
            *(scores(policy, symbol=s) for policy in ("never", "evidence") for s in ("BTCUSDT", "ETHUSDT")),
        )
        written(replays / "broken").write_text(json.dumps({"scores": "<b>none</b>"}))
        (replays / "half" / "never-BTCUSDT").mkdir(parents=True)
        (replays / "half" / "never-BTCUSDT" / "state.json").write_text("{}")
        with serving_clm(shell, folder / "log") as (_, url):
            httpx.get(f"{url}/api/clm/drift/lightgbm", timeout=LIMIT)
            yield url


@pytest.fixture
def pages(chromium: Browser, aged: str, request: pytest.FixtureRequest) -> Iterator[Window]:
    """No error in the console, no request to anywhere else."""
    context, found = window_on(chromium, aged, **getattr(request, "param", {}))
    yield found
    context.close()
    assert found.wrong == []


def _charts(page: Page) -> list[str]:
    """What each picture tells those who do not see it."""
    return [str(one.get_attribute("aria-label")) for one in page.get_by_role("img").all()]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("pages", [{}, DARK, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_the_pages_can_be_used_by_everybody(pages: Window, path: str) -> None:
    page = pages.open(path)
    page.wait_for_load_state("networkidle")

    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_stored_candles_are_drawn_and_their_age_is_told_by_the_exchanges_clock(pages: Window) -> None:
    page = pages.open("/data")

    expect(page.get_by_text("The newest candle closed")).to_contain_text("by the exchange's clock")
    expect(page.get_by_text("Request weight of the last minute")).to_contain_text("of 6,000")
    expect(page.locator("canvas")).to_have_count(1)
    assert _charts(page)[0].startswith("Candles from 2024-05-")
    expect(page.get_by_text("None: every candle of this time is stored.")).to_be_visible()
    expect(page.get_by_text("no candle that a forecast was scored by has changed")).to_be_visible()


def test_another_time_is_chosen_with_the_keyboard_and_kept_in_the_address(pages: Window) -> None:
    page = pages.open("/data")

    page.get_by_label("Time").focus()
    page.keyboard.press("Enter")
    page.get_by_role("option", name="7 days").wait_for()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")

    page.wait_for_url("**/data?*days=7")
    expect(page.get_by_text("168 candles")).to_be_visible()


def test_drift_is_shown_day_by_day_against_what_triggers(pages: Window) -> None:
    page = pages.open(DRIFT)
    page.wait_for_selector("canvas")
    told = httpx.get(f"{pages.url}/api/clm/drift/lightgbm", params={"top": 1}, timeout=LIMIT).json()

    expect(page.get_by_role("img")).to_have_count(4)
    shown = _charts(page)

    assert shown[0].endswith(f"drift above {told['share_threshold'] * 100:.0f} %")
    assert len(shown) == 4
    region = page.get_by_role("region", name="Leading features")
    expect(region.get_by_role("row").nth(1)).to_contain_text(told["leading"][0]["feature"])
    expect(page.get_by_text("No training was begun because of drift")).to_be_visible()


def test_without_a_training_the_page_of_drift_says_what_to_do(pages: Window) -> None:
    page = pages.open("/drift?symbol=BTCUSDT&interval=1h&model=xgboost")

    expect(page.get_by_text("Nothing was trained here yet")).to_be_visible()
    expect(page.get_by_role("link", name="Start a retraining")).to_have_attribute("href", "/retrain")


def test_a_replay_is_opened_from_the_list_and_its_series_are_chosen(pages: Window) -> None:
    page = pages.open("/replays")

    page.get_by_role("link", name="spring").click()
    region = page.get_by_role("region", name="Policies compared on BTCUSDT 1h")
    expect(region.get_by_role("row")).to_have_count(3)
    expect(region).to_contain_text("evidence")
    page.wait_for_selector("canvas")
    assert _charts(page) == [
        "Cumulative gain: never 0.8, evidence 0.8", "Days since training: never 2.0, evidence 2.0",
    ]  # fmt: skip

    page.goto(f"{pages.url}/replays?name=spring&series=ETHUSDT+1h")
    expect(page.get_by_role("region", name="Policies compared on ETHUSDT 1h")).to_be_visible()


def test_damaged_and_unfinished_replays_give_a_sentence(pages: Window) -> None:
    page = pages.open("/replays")

    expect(page.get_by_text("The report of broken is damaged")).to_contain_text("run the replay again")
    expect(page.get_by_text("The replay half has not come to its end")).to_be_visible()
    page = pages.open("/replays?name=broken")
    expect(page.get_by_role("alert")).to_contain_text("The report of broken is damaged")
    page = pages.open("/replays?name=../config")
    expect(page.get_by_text("There is no replay of this name")).to_be_visible()


def test_who_may_only_read_sees_them_and_is_told_what_makes_them(stranger: Window) -> None:
    page = stranger.logged_in(READ)

    page.goto(f"{stranger.url}/replays")
    expect(page.get_by_text("clm replay --start")).to_be_visible()
    page.goto(f"{stranger.url}/data")
    expect(page.get_by_text("No candle of this series is stored")).to_be_visible()
    page.goto(f"{stranger.url}/drift")
    expect(page.get_by_text("Nothing was trained here yet")).to_be_visible()
