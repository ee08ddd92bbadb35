"""What is done on the dashboard beyond a retraining: comparing, making once more, looking for decisions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from clm.exchange.server import ExchangeServer
from tests.browser.conftest import READ, Window, at_rest, window_on
from tests.browser.test_dashboard import DARK, PHONE, findings
from tests.support.exchange import hold_back, let_go
from tests.support.shell import Shell, serving_clm
from tests.support.waiting import LIMIT

PLACE = {"symbol": "BTCUSDT", "interval": "1h"}
HISTORY = "/history?symbol=BTCUSDT&interval=1h&model=xgboost"


def _versions(window: Window) -> list[str]:
    found: dict[str, Any] = httpx.get(
        f"{window.url}/api/clm/history/xgboost", params=PLACE, timeout=LIMIT
    ).json()
    return [version["version"] for version in found["versions"]]


@pytest.mark.parametrize("window", [{}, DARK, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_two_versions_stand_side_by_side_at_an_address_of_their_own(window: Window) -> None:
    newer, older = _versions(window)[:2]
    page = window.open(f"{HISTORY}&a={older}&b={newer}")

    beside = page.get_by_role("region", name="Two versions side by side")

    expect(beside).to_contain_text("≠ differs")
    expect(beside).not_to_contain_text("the same")
    page.get_by_role("checkbox", name="Also what is the same").click()
    expect(beside).to_contain_text("the same")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_version_is_made_once_more_and_the_page_says_whether_it_is_the_same(window: Window) -> None:
    newest = _versions(window)[0]
    page = window.open(HISTORY)

    page.get_by_role("button", name=f"Reproduce {newest}").click()
    expect(page.get_by_role("heading", name=f"xgboost {newest} of BTCUSDT, made once more")).to_be_visible()
    page.reload()

    expect(page.get_by_text("The same bytes came out.")).to_be_visible()


def test_who_was_champion_when_is_drawn_and_listed_with_the_reason(window: Window) -> None:
    page = window.open(HISTORY)

    expect(page.get_by_role("img", name="Who was champion when.")).to_be_visible()
    listed = page.get_by_role("region", name="Who was champion when")
    expect(listed).to_contain_text("answers now")
    listed.get_by_role("link").first.click()

    expect(page.get_by_text("comes to").or_(page.get_by_text("A person decided"))).to_be_visible()


def test_decisions_are_looked_for_and_the_search_can_be_linked(window: Window) -> None:
    page = window.open("/decisions")
    expect(page.get_by_role("article").first).to_be_visible()

    page.get_by_label("Reason has").fill("no decision says this")
    page.get_by_label("Reason has").press("Enter")
    expect(page.get_by_text("No decision is like that.")).to_be_visible()
    assert "text=no+decision+says+this" in page.url

    window.open("/decisions?outcome=PROMOTE&model=lightgbm")
    expect(page.get_by_role("article").first).to_contain_text("lightgbm")
    expect(page.get_by_role("article").filter(has_text="xgboost")).to_have_count(0)
    window.open("/decisions?since=tomorrow")
    expect(page.get_by_role("alert").filter(has_text="since")).to_be_visible()


def test_a_second_click_says_what_runs_and_lines_outlive_a_reload(
    window: Window, resting: tuple[Shell, ExchangeServer]
) -> None:
    hold_back(resting[1])
    page = window.open("/retrain")
    page.get_by_role("checkbox", name="Force").click()
    page.get_by_role("button", name="Retrain", exact=True).click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()

    page.get_by_role("button", name="Retrain", exact=True).click()
    refused = page.get_by_text("retraining run is already in progress").first
    expect(refused).to_contain_text(re.compile(r"\((step \d+ of \d+: .+|beginning)\)"))
    page.reload()
    let_go(resting[1])

    expect(page.get_by_role("log")).to_contain_text("reading BTCUSDT 1h candles")
    came_to = page.get_by_role("region", name="What came of each model")
    expect(came_to).to_contain_text("promoted")
    expect(page.get_by_role("status")).to_contain_text("completed")
    expect(page.get_by_role("log")).to_contain_text("cycle complete")
    # The browser tells its console of each refusal; this one was asked for.
    window.wrong[:] = [said for said in window.wrong if "409" not in said]


def test_the_service_page_shows_health_audit_and_settings_without_a_secret(window: Window) -> None:
    page = window.open("/service")

    expect(page.get_by_role("region", name="Health")).to_contain_text("database")
    expect(
        page.get_by_role("region", name="Audit").or_(page.get_by_text("Nobody has changed"))
    ).to_be_visible()
    settings = page.get_by_role("region", name="Settings")
    expect(settings).to_be_visible()
    for name in httpx.get(f"{window.url}/api/clm/config", timeout=LIMIT).json():
        expect(settings).to_contain_text(f"CLM_{name.upper()}")


def test_only_what_lasts_needs_somebody(window: Window) -> None:
    told = httpx.get(f"{window.url}/api/clm/alerts", timeout=LIMIT).json()
    page = window.open("/")

    expect(page.get_by_text("Nothing: there is no alert.")).to_be_visible()
    assert {alert["kind"] for alert in told} >= {"promoted"}
    assert all(alert["closed_at"] is not None for alert in told)


def test_who_may_only_read_cannot_make_a_version_once_more(stranger: Window) -> None:
    page = stranger.logged_in(READ)

    page.goto(f"{stranger.url}/decisions")

    expect(page.get_by_text("Nothing has been decided here yet.")).to_be_visible()
    page.goto(f"{stranger.url}/history")
    expect(page.get_by_text("Nobody yet.")).to_be_visible()
    expect(page.get_by_text("There are not two versions yet.")).to_be_visible()


def test_a_damaged_champion_is_what_needs_somebody_with_what_to_do(chromium: Browser, tmp_path: Path) -> None:
    with at_rest(tmp_path) as (shell, _):
        assert shell("retrain", "--force", "--models", "lightgbm").returncode == 0
        (file,) = (tmp_path / "models").glob("lightgbm_*.txt")
        file.write_bytes(file.read_bytes()[:-1])
        shell("retrain", "--force", "--models", "lightgbm")
        with serving_clm(shell, tmp_path / "log") as (_, url):
            context, window = window_on(chromium, url)
            page = window.open("/")

            needs = page.locator("section").filter(has_text="What needs you")
            expect(needs).to_contain_text("A damaged model file was set aside: BTCUSDT 1h lightgbm")
            expect(needs).to_contain_text("is not the one that was registered")
            expect(needs).to_contain_text("What to do: `clm verify` names what is damaged")
            context.close()
            assert window.wrong == []
