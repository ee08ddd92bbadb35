"""What somebody wrote is text on the page and in its plots, never markup."""

from __future__ import annotations

from datetime import UTC, datetime

from nicegui import ui
from nicegui.client import Client

from clm.dashboard.versions import reigns

MARKUP = "<img src=x onerror=alert(1)>"


def test_a_reason_is_no_markup_in_the_timeline_of_champions() -> None:
    reign = {
        "version": "v20240101_000000", "since": "2024-01-01T00:00:00Z", "until": None, "label": "manual",
        "reason": f"{MARKUP} {{a}}", "decided_by": "user", "decision_id": 1,
    }  # fmt: skip

    with Client(ui.page("/history"), request=None) as page:
        reigns([reign], datetime(2024, 2, 1, tzinfo=UTC))
    (timeline,) = (element for element in page.elements.values() if isinstance(element, ui.echart))
    markup = [element.content for element in page.elements.values() if isinstance(element, ui.html)]
    page.delete()

    (shown,) = (line["tooltip"]["formatter"] for line in timeline.options["series"])
    # ECharts takes braces for placeholders.
    assert shown.endswith("<br>manual: &lt;img src=x onerror=alert(1)&gt; (a)")
    assert not any(MARKUP in text for text in markup)
