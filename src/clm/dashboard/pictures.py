"""Evidence, losses and forecasts as plots, live skill as a line; each also in a sentence.

Plots are SVG, so that their colours are the page's own, by day and by night.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Any

from nicegui import ui

from clm.dashboard.frame import chart, empty
from clm.dashboard.plots import TIME
from clm.dashboard.words import metric

#: Colours of the page's head, in the order they are given out.
_COLOURS = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)")
_LEAST_E = 1e-3
_BP = 1e4


_NO_BETS = (
    "No candle has been bet on yet. Evidence begins with the first one that the champion and a challenger, "
    "or the version it replaced, have both forecast."
)


def plots(evidence: dict[str, Any], forecasts: dict[str, Any]) -> None:
    """All three of one model; what there is nothing of yet is left out."""
    ledgers = evidence["ledgers"]
    if ledgers:
        _evidence(ledgers)
        _losses(ledgers)
    else:
        empty(_NO_BETS)
    if any(candle["actual"] is not None for candle in forecasts["candles"]):
        _forecasts(forecasts)


def _named(ledger: dict[str, Any]) -> str:
    return f"{ledger['version']} (guard)" if ledger["kind"] == "guard" else str(ledger["version"])


def _thinned(ledgers: list[dict[str, Any]]) -> str:
    nth = max(ledger["nth"] for ledger in ledgers)
    return f" Every {nth}th candle is drawn." if nth > 1 else ""


def _evidence(ledgers: list[dict[str, Any]]) -> None:
    values = [max(p["e"], _LEAST_E) for ledger in ledgers for p in ledger["points"]]
    needed = {(ledger["does"], ledger["e_needed"]) for ledger in ledgers}
    series: list[dict[str, Any]] = [
        _line(_named(ledger), [(p["open_time"], max(p["e"], _LEAST_E)) for p in ledger["points"]], n)
        for n, ledger in enumerate(ledgers)
    ]
    series[0]["markLine"] = {
        "symbol": "none", "silent": True, "lineStyle": {"color": "var(--warn)", "type": "dashed"},
        "data": [
            {"yAxis": at, "label": {
                "formatter": f"{does} at E = {at:.3g}", "position": "insideStartTop", "color": "var(--warn)"
            }}
            for does, at in sorted(needed)
        ],
    }  # fmt: skip
    options = {
        "yAxis": _axis(
            type="log", name="E", min=_power(min(0.5, *values), down=True),
            max=_power(2 * max(*(at for _, at in needed), *values), down=False),
        ),
        "series": series,
    }  # fmt: skip
    told = "; ".join(
        f"{_named(x)}: E = {x['points'][-1]['e']:.3g} after {x['candles']} candles, "
        f"{x['does']} at {x['e_needed']:.3g}"
        for x in ledgers
    )
    pooled = " E counts the other series' candles too." if any(x["pooled"] for x in ledgers) else ""
    said = (
        "E begins at 1, grows while the challenger forecasts better and shrinks while it does not; the axis "
        f"is logarithmic.{pooled}{_thinned(ledgers)}"
    )
    _plot("Evidence over time", options, f"Evidence over time. {told}", said)


def _power(value: float, *, down: bool) -> float:
    """The next 1, 10, 100, … or 0.1, 0.01, … beyond a value."""
    at = 1.0
    while at > value:
        at /= 10
    while not down and at < value:
        at *= 10
    while down and at * 10 <= value:
        at *= 10
    return at


def _losses(ledgers: list[dict[str, Any]]) -> None:
    ahead = max(ledgers, key=lambda ledger: float(ledger["points"][-1]["e"]))
    band = ahead["points"]
    edge = {"type": "line", "symbol": "none", "silent": True, "lineStyle": {"opacity": 0}}
    below = [(p["open_time"], -p["band"]) for p in band]
    # Stacked on the lower edge, what is filled reaches the upper one.
    wide = [(p["open_time"], 2 * p["band"]) for p in band]
    shade = {"color": "var(--soft)", "opacity": 0.16}
    series = [
        {**edge, "data": below, "stack": "band", "stackStrategy": "all", "tooltip": {"show": False}},
        {
            **edge, "data": wide, "stack": "band", "stackStrategy": "all", "areaStyle": shade,
            "tooltip": {"show": False},
        },
        *(
            _line(_named(ledger), [(p["open_time"], round(p["gain"], 4)) for p in ledger["points"]], n)
            for n, ledger in enumerate(ledgers)
        ),
    ]  # fmt: skip
    options = {"yAxis": _axis(type="value", name="σ²"), "series": series}
    last = band[-1]
    side = "within" if abs(last["gain"]) <= last["band"] else "outside"
    told = (
        f"Summed difference of losses. {_named(ahead)}: {last['gain']:+.2f} after {ahead['candles']} "
        f"candles, {side} the band of ±{last['band']:.2f}"
    )
    said = (
        "The champion's squared error less the challenger's, summed, in units of the variance known "
        f"beforehand: a line that climbs forecasts better. The band is {_named(ahead)}'s: were both equally "
        "good, its line would lie within it at 95 of 100 moments looked at once. Whoever looks at all of "
        f"them sees it outside more often; what promotes is E alone.{_thinned(ledgers)}"
    )
    _plot("Summed difference of losses", options, told, said)


def _forecasts(found: dict[str, Any]) -> None:
    candles = found["candles"][::-1]
    outcomes = [(c["open_time"], round(c["actual"] * _BP, 2)) for c in candles if c["actual"] is not None]
    series: list[dict[str, Any]] = [
        {
            "type": "bar", "name": "what came", "data": outcomes, "barMaxWidth": 4, "yAxisIndex": 0,
            "itemStyle": {"color": "var(--soft)", "opacity": 0.45},
        }
    ]  # fmt: skip
    sizes = []
    for n, version in enumerate(found["versions"]):
        made = [
            (c["open_time"], round(c["forecasts"][n] * _BP, 3))
            for c in candles if c["forecasts"][n] is not None
        ]  # fmt: skip
        if made:
            name = f"{version['version']} ({version['role']})"
            series.append({**_line(name, _broken(made), n), "yAxisIndex": 1})
            sizes.append((name, len(made), max(abs(size) for _, size in made)))
    most, largest = max(abs(size) for _, size in outcomes), max((s for *_, s in sizes), default=1.0)
    options = {
        # Zero is at the same height on both.
        "yAxis": [
            _axis(type="value", name="came, bp", min=-_round_up(most), max=_round_up(most)),
            _axis(type="value", name="forecast, bp", min=-_round_up(largest), max=_round_up(largest),
                  splitLine={"show": False}),
        ],
        "series": series,
    }  # fmt: skip
    each = "; ".join(f"{name}: {count} forecasts, none beyond {size:.1f} bp" for name, count, size in sizes)
    told = f"Forecasts against outcomes. {len(outcomes)} outcomes, none beyond {most:.0f} bp; {each}"
    said = (
        f"The newest {len(candles)} candles. Bars, by the left axis: the log return that came; 1 bp = "
        "0.0001. Lines, by the right axis: what was forecast, which is far smaller, because most of a return "
        "cannot be foreseen."
    )
    _plot("Forecasts and what came", options, told, said)


def _round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    size = 10.0 ** len(str(int(value))) if value >= 1 else 1.0
    while size > 1e-9 and size / 10 >= value:
        size /= 10
    return next((size * part for part in (0.1, 0.2, 0.5) if size * part >= value), size)


def _broken(points: list[tuple[str, float]]) -> list[tuple[str, float | None]]:
    """With a break where candles are missing in between: no line is drawn over what was not forecast."""
    times = [datetime.fromisoformat(time) for time, _ in points]
    step = min((after - before for before, after in pairwise(times)), default=timedelta(0))
    drawn: list[tuple[str, float | None]] = []
    for at, point in enumerate(points):
        if at and times[at] - times[at - 1] > step:
            drawn.append(((times[at - 1] + step).isoformat(), None))
        drawn.append(point)
    return drawn


def _line(name: str, data: Sequence[tuple[str, float | None]], n: int) -> dict[str, Any]:
    colour = _COLOURS[n % len(_COLOURS)]
    return {
        "type": "line", "name": name, "data": data, "symbol": "circle", "showSymbol": len(data) < 3,
        "itemStyle": {"color": colour}, "lineStyle": {"color": colour, "width": 2},
        "emphasis": {"disabled": True},
    }  # fmt: skip


def _axis(labels: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    soft = {"color": "var(--soft)"}
    axis: dict[str, Any] = {
        "axisLine": {"lineStyle": soft}, "axisLabel": {**soft, "hideOverlap": True, **(labels or {})},
        "nameTextStyle": soft, "splitLine": {"lineStyle": {"color": "var(--line)"}},
    }  # fmt: skip
    return {**axis, **more}


def _plot(title: str, options: dict[str, Any], told: str, said: str) -> None:
    drawn = {
        "grid": {"left": 8, "right": 14, "top": 62, "bottom": 8, "containLabel": True},
        "legend": {
            "type": "scroll", "top": 0, "left": 0, "textStyle": {"color": "var(--ink)"},
            "pageIconColor": "var(--ink)", "pageTextStyle": {"color": "var(--soft)"},
            "data": [s["name"] for s in options["series"] if "name" in s],
        },
        "tooltip": {
            "trigger": "axis", "confine": True, "backgroundColor": "var(--card)",
            "borderColor": "var(--line)", "textStyle": {"color": "var(--ink)"},
            "axisPointer": {"lineStyle": {"color": "var(--soft)"}},
        },
        "xAxis": _axis({"formatter": TIME}, type="time", splitLine={"show": False}), **options,
    }  # fmt: skip
    with ui.element("section").classes("clm-card w-full flex flex-col gap-2"):
        ui.html(f"<h2>{title}</h2>", sanitize=False)
        chart(drawn, told, "20rem", renderer="svg")
        ui.label(said).classes("clm-soft text-sm")


#: A sparkline's box, its own units.
_WIDE, _HIGH = 120, 28


#: Fewer scored candles than this say nothing: one of them may be right or wrong.
TELLING = 24


def sparks(skill: dict[str, Any], hours: float) -> None:
    """Live R² and directional accuracy of a champion as lines, each beside its evaluation's figure."""
    if not skill["candles"]:
        ui.label("live: no forecast has been scored yet").classes("clm-soft text-sm")
        return
    if skill["candles"] < TELLING:
        said = f"live: {skill['candles']} of the {TELLING} scored candles that a figure needs to say anything"
        ui.label(said).classes("clm-soft text-sm")
        return
    with ui.element("div").classes("clm-sparks"):
        for name, title in (("r2", "R²"), ("directional_accuracy", "directional accuracy")):
            held, now = skill["evaluated"][name], skill[name]
            points = [point[name] for point in skill["points"] if point[name] is not None]
            figures = f"{metric(name, now)} live, {metric(name, held)} evaluated"
            ui.html(_spark(points, held, f"{title}: {figures}"), sanitize=False)
            ui.label(f"{title} {figures}").classes("text-sm")
    counted = skill["candles"]
    spent = f" = {counted * hours:,.0f} h" if hours != 1 else ""
    unit = "h" if hours == 1 else "candles"
    ui.label(f"live over {counted:,} {unit}{spent}; dashed: its evaluation").classes("clm-soft text-sm")


def _spark(values: list[float], held: float | None, told: str) -> str:
    """A line through the values, from left to right, and a dashed one where the evaluation was."""
    every = [*values, *([] if held is None else [held])]
    low, high = min(every, default=0.0), max(every, default=1.0)
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return round(_HIGH - 3 - (value - low) / span * (_HIGH - 6), 1)

    step = (_WIDE - 6) / max(1, len(values) - 1)
    at = [(round(3 + n * step, 1), y(value)) for n, value in enumerate(values)]
    parts = []
    if held is not None:
        parts.append(f'<line class="held" x1="0" x2="{_WIDE}" y1="{y(held)}" y2="{y(held)}"/>')
    if len(at) > 1:
        parts.append(f'<polyline points="{" ".join(f"{a},{b}" for a, b in at)}"/>')
    if at:
        parts.append(f'<circle cx="{at[-1][0]}" cy="{at[-1][1]}" r="2.5"/>')
    return (
        f'<svg class="clm-spark" role="img" aria-label="{escape(told)}" viewBox="0 0 {_WIDE} {_HIGH}" '
        f'width="{_WIDE}" height="{_HIGH}">{"".join(parts)}</svg>'
    )
