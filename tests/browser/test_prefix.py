"""The dashboard below a path of somebody else's site, behind a real nginx: it works as at the root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import ADMIN, at_rest, window_on
from tests.support.nginx import nginx
from tests.support.shell import serving_clm


@pytest.mark.parametrize("strips", [True, False], ids=["strips", "keeps"])
def test_pages_links_deeds_and_the_way_out(chromium: Browser, tmp_path: Path, strips: bool) -> None:
    with (
        at_rest(tmp_path, CLM_API_KEY=f"admin:{ADMIN}", CLM_TRUSTED_PROXIES="127.0.0.1") as (shell, _),
        serving_clm(shell, tmp_path / "log") as (_, behind),
        nginx(behind, "/clm", strips=strips) as site,
    ):
        # Whatever the page asks for lies below the prefix: anything else is noted as wrong.
        context, window = window_on(chromium, f"{site}/clm")
        page = window.logged_in(ADMIN)
        page.get_by_role("navigation").get_by_role("link", name="Retrain").click()
        expect(page).to_have_url(f"{site}/clm/retrain")
        page.get_by_role("button", name=re.compile("Retrain|Start")).first.click()
        expect(page.get_by_text(re.compile("completed", re.IGNORECASE)).first).to_be_visible()
        page.get_by_role("navigation").get_by_role("link", name="Service").click()
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(f"{site}/clm/login")
        context.close()

    assert [said for said in window.wrong if "401" not in said] == []
