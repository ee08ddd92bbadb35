"""A replay for people: a table, JSON, and one HTML page with pictures that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clm.core.errors import StorageFailed
from clm.core.extras import how_to_install
from clm.replay.scores import Scores

COLUMNS = (
    "policy", "series", "model", "hours", "loss / zero", "R²", "R² clip", "direction", "promoted", "back",
    "harmful", "age", "trained", "cost",
)  # fmt: skip
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:84rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.3rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid #dde}
td:nth-child(-n+3),th:nth-child(-n+3){text-align:left}img{max-width:100%}
p{max-width:46rem}
"""


def table_row(scores: Scores) -> tuple[str, ...]:
    """One line of the table, in the order of `COLUMNS`."""
    promotions = ", ".join(f"{n}\N{NO-BREAK SPACE}{label}" for label, n in sorted(scores.promotions.items()))
    direction = scores.directional_accuracy
    return (
        scores.policy, f"{scores.symbol} {scores.interval}", scores.model_type, f"{scores.hours:,}",
        f"{scores.loss:.5f}", f"{scores.r2:+.3%}", f"{scores.r2_clipped:+.3%}",
        "—" if direction is None else f"{direction:.2%}",
        promotions or "—", str(scores.rollbacks),
        f"{scores.harmful} of {scores.looked_back}" if scores.looked_back else "—",
        "—" if scores.mean_age_days is None else f"{scores.mean_age_days:.0f} d",
        f"{scores.trained}, {scores.failed} failed" if scores.failed else str(scores.trained or "—"),
        f"{scores.seconds:.0f} s" if scores.trained else "—",
    )  # fmt: skip


def write(scores: Sequence[Scores], about: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """`report.json` and `report.html` in `folder`. Raises StorageFailed."""
    as_json, as_html = folder / "report.json", folder / "report.html"
    try:
        as_json.write_text(
            json.dumps({**about, "scores": [asdict(one) for one in scores]}, indent=1), encoding="utf-8"
        )
        as_html.write_text(_page(scores, about), encoding="utf-8")
    except OSError as exc:
        raise StorageFailed(f"the report cannot be written to {folder}: {exc.strerror}") from exc
    return as_json, as_html


def _page(scores: Sequence[Scores], about: dict[str, Any]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in table_row(one)) + "</tr>"
        for one in scores
    )
    pictures = "".join(
        f"<h2>{html.escape(symbol)}</h2>{_picture([s for s in scores if s.symbol == symbol])}"
        for symbol in dict.fromkeys(one.symbol for one in scores)
    )
    told = html.escape(
        f"{about['start'][:10]} to {about['end'][:10]} UTC, a step every {about['step_days']:g} days, "
        f"{', '.join(about['models'])}; every hour is out-of-sample for the model that answered it."
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>CLM replay</title>'
        f"<style>{_STYLE}</style><h1>Replay of promotion policies</h1><p>{told}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        "<p>Loss: mean squared error, normalised by the volatility known beforehand, over that of "
        "forecasting zero; below 1 is better than zero. Harmful: promotions after which the replaced "
        "champion would have forecast the next 30 days better; of two equal models half are.</p>"
        f"{pictures}</html>"
    )


def _picture(scores: Sequence[Scores]) -> str:
    """Cumulative gain over forecasting zero, and the champion's age, as one inline SVG."""
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return f"<p>Pictures need matplotlib: <code>{html.escape(how_to_install('report'))}</code>.</p>"
    import numpy as np

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasSVG(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    several = len({one.model_type for one in scores}) > 1
    for one in scores:
        days = np.array([day for day, _, _ in one.curve], dtype="datetime64[D]")
        name = f"{one.policy}, {one.model_type}" if several else one.policy
        above.plot(days, [gain for _, gain, _ in one.curve], label=name, linewidth=1.3)
        below.plot(days, [age for _, _, age in one.curve], linewidth=1.3)
    above.axhline(0, color="grey", linewidth=0.6)
    above.set_ylabel("cumulative gain over zero\n(hours' worth of zero loss)")
    above.legend(loc="upper left", frameon=False)
    below.set_ylabel("champion's age (days)")
    below.set_xlabel("UTC")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    picture = base64.b64encode(drawn.getvalue()).decode()
    return f'<img alt="policies compared" src="data:image/svg+xml;base64,{picture}">'
