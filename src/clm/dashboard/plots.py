"""What the pictures of pages have in common: quiet axes for light and dark, and colours that tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Told apart on light and on dark, also by who does not see red and green alike.
COLOURS = (
    "#3b74d9", "#d97706", "#0f9d76", "#c2417c", "#7c6bd6", "#5a8fa8", "#a16207", "#8a94a3",
    "#b4553a", "#3f9142",
)  # fmt: skip
WARN = "#d2551c"
#: What is written under an axis of time: a day's number alone tells no month.
TIME = {"day": "{MMM} {d}"}
_LINE = {"lineStyle": {"color": "rgba(125,140,160,.28)"}}
_SOFT = "#7a8899"


def in_time(name: str, **more: Any) -> dict[str, Any]:
    """Options of a picture over time. name: of what its axis counts; more: goes over the options."""
    return {
        "color": list(COLOURS),
        "grid": {"left": 12, "right": 20, "top": 44, "bottom": 10, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True, "order": "valueDesc"},
        "xAxis": {
            "type": "time", "axisLine": {**_LINE, "onZero": False}, "splitLine": {"show": False},
            "axisLabel": {"color": _SOFT, "hideOverlap": True, "formatter": TIME},
        },
        "yAxis": value_axis(name),
        **more,
    }  # fmt: skip


def value_axis(name: str, **more: Any) -> dict[str, Any]:
    """An axis of numbers with its name on top."""
    return {
        "type": "value", "name": name, "nameTextStyle": {"align": "left", "color": _SOFT}, "splitLine": _LINE,
        "axisLabel": {"color": _SOFT, "hideOverlap": True}, **more,
    }  # fmt: skip


def with_legend() -> dict[str, Any]:
    """Names below the picture, scrolled where they are many, and the room for them."""
    text = {"color": _SOFT}
    return {
        "legend": {
            # Without its dot: a dash tells as much as a colour.
            "type": "scroll", "bottom": 0, "itemStyle": {"opacity": 0}, "itemWidth": 28, "textStyle": text,
            "pageTextStyle": text, "pageIconColor": _SOFT,
        },
        "grid": {"left": 12, "right": 20, "top": 44, "bottom": 34, "containLabel": True},
    }  # fmt: skip


def line(name: str, points: Sequence[tuple[str, float | None]], **more: Any) -> dict[str, Any]:
    """points: (time, value), ascending; broken at None."""
    return {
        "type": "line", "name": name, "symbol": "none", "lineStyle": {"width": 1.6},
        "data": [list(point) for point in points], **more,
    }  # fmt: skip


def limits(levels: Mapping[str, float], begins: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Thresholds: name → level, dashed across; begins: name → a time, dashed upright."""
    across = [
        {"yAxis": level, "label": {"formatter": name, "position": "insideStartTop"}}
        for name, level in levels.items()
    ]
    upright = [
        {
            "xAxis": at, "lineStyle": {"color": _SOFT},
            "label": {"formatter": name, "position": "end", "rotate": 0, "align": "right", "color": _SOFT},
        }
        for name, at in (begins or {}).items()
    ]  # fmt: skip
    return {
        "markLine": {
            "symbol": "none", "silent": True, "data": [*across, *upright],
            "lineStyle": {"color": WARN, "type": "dashed"}, "label": {"color": WARN},
        }
    }  # fmt: skip


def up_to(values: Sequence[float | None], step: float) -> float:
    """Where an axis ends that has room above all of them: a multiple of `step`."""
    return step * (int(max(value or 0.0 for value in values) * 1.1 / step) + 1)
