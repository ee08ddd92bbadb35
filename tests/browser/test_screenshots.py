"""The pictures in README and documentation are taken here: of a service, its own pages, real figures.

`make screenshots` (CLM_TEST_SCREENSHOTS=1) puts them into docs/images; otherwise they go to a folder of the
test's own, so that what takes them stays sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from clm.bootstrap import Application
from clm.core.runs import RunRequest
from clm.settings import Settings
from clm.worker import work
from tests.browser.conftest import window_on
from tests.support.exchange import serving, simulated
from tests.support.shell import Shell, serving_clm

_WATCHED_HOURS = 48
IMAGES = Path(__file__).parents[2] / "docs" / "images"


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two symbols, defaults, challengers of eight days later, and two days watched hour by hour."""
    folder = tmp_path_factory.mktemp("pictures")
    with serving(simulated(days=500)) as exchange:
        settings = {
            "CLM_BINANCE_URL": exchange.url, "CLM_SYMBOLS": "BTCUSDT,ETHUSDT", "CLM_SCHEDULE": "off",
            "CLM_LIVE_SHADOW": "false", "CLM_RATE_LIMIT_PER_MINUTE": "0", "CLM_LOG_LEVEL": "error",
        }  # fmt: skip
        given = {name.removeprefix("CLM_").lower(): value for name, value in settings.items()}
        places = {
            "db_url": f"sqlite:///{folder}/clm.db",
            "model_dir": folder / "models",
            "data_dir": folder / "data",
        }
        with Application(
            Settings.load(**given, **places, executor="inline"), interactive=True
        ) as application:
            for days in (0, 8, 8):
                exchange.clock.advance(timedelta(days=days))
                if days:
                    application.live_shadow().tick()
                assert work(application, application.runs.create(RunRequest()).run_id) == 0
            for _ in range(_WATCHED_HOURS):
                exchange.clock.advance(timedelta(hours=1))
                application.live_shadow().tick()
        with serving_clm(Shell(folder, settings), folder / "log") as (_, url):
            yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_overview_is_pictured(chromium: Browser, lived_in: str, scheme: str, tmp_path: Path) -> None:
    folder = IMAGES if os.environ.get("CLM_TEST_SCREENSHOTS") else tmp_path
    size = {"width": 1280, "height": 860}
    context, window = window_on(chromium, lived_in, color_scheme=scheme, viewport=size)
    page = window.open("/")
    page.wait_for_load_state("networkidle")
    page.get_by_role("article").first.wait_for()

    picture = page.screenshot(path=folder / f"dashboard-{scheme}.png")

    context.close()
    assert window.wrong == []
    assert len(picture) > 20_000
