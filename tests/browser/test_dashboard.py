"""What a visitor sees and does on the dashboard, in a real browser."""

from __future__ import annotations

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import READ, Window
from tests.support.waiting import LIMIT

PAGES = ("/", "/retrain", "/shadow", "/history", "/decisions", "/decisions/1", "/explain", "/service")
PHONE = {"viewport": {"width": 390, "height": 844}}
DARK = {"color_scheme": "dark"}


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("window", [{}, DARK, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_every_page_can_be_used_by_everybody(window: Window, path: str) -> None:
    page = window.open(path)
    page.wait_for_load_state("networkidle")

    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_overview_tells_which_model_answers_and_how_it_fares(window: Window) -> None:
    page = window.open("/")

    card = page.get_by_role("article").filter(has_text="BTCUSDT 1h · lightgbm")

    expect(card).to_contain_text("champion since 2024-06-01 00:30 UTC")
    expect(card).to_contain_text("directional accuracy")
    expect(page.get_by_text("What needs you")).to_be_visible()


def test_a_retraining_is_started_watched_through_a_reload_and_leads_to_a_decision(window: Window) -> None:
    page = window.open("/retrain")
    page.get_by_role("checkbox", name="Force").click()

    with page.expect_request("**/api/clm/retrain") as asked:
        page.get_by_role("button", name="Retrain", exact=True).click()
    run_id = asked.value.response().json()["run_id"]
    page.reload()

    assert asked.value.post_data_json == {"models": None, "symbols": None, "force": True}
    expect(page.get_by_role("status")).to_contain_text(f"{run_id}: completed")
    expect(page.get_by_role("region", name="What came of each model")).to_contain_text("promoted")


def _champion(window: Window) -> str:
    where = {"symbol": "BTCUSDT", "interval": "1h"}
    told = httpx.get(f"{window.url}/api/clm/models", params=where, timeout=LIMIT).json()
    return str(told["xgboost"]["active_version"])


def test_a_champion_is_taken_back_only_by_who_says_so_twice(window: Window) -> None:
    before = _champion(window)
    page = window.open("/history?symbol=BTCUSDT&interval=1h&model=xgboost")

    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("button", name="No").click()
    between = _champion(window)
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("is the champion again")).to_be_visible()

    after = _champion(window)
    assert between == before != after


def test_the_keyboard_is_enough(window: Window) -> None:
    page = window.open("/")

    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Retrain"
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Retrain", exact=True)).to_be_visible()


def test_who_may_only_read_is_shown_no_more_and_may_do_no_more(stranger: Window) -> None:
    page = stranger.logged_in(READ)
    expect(page.get_by_text("· read")).to_be_visible()
    expect(page.get_by_text("no champion yet").first).to_be_visible()

    page.goto(f"{stranger.url}/retrain")
    expect(page.get_by_role("button", name="Retrain", exact=True)).to_be_disabled()
    page.goto(f"{stranger.url}/service")
    expect(page.get_by_text("is for the role admin")).to_be_visible()
