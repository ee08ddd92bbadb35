"""What every page has: head, ways to the others, refusals as sentences; and how it keeps fresh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from nicegui import ui

from clm.core.access import Role
from clm.dashboard.desk import Refused, Session

#: Path → name, in the order of the menu.
PAGES = {
    "/": "Overview", "/retrain": "Retrain", "/shadow": "Shadow", "/history": "History",
    "/decisions": "Decisions", "/explain": "Explain", "/drift": "Drift", "/data": "Data",
    "/replays": "Replays", "/service": "Service",
}  # fmt: skip

#: Columns that have room beside each other on a phone.
_BESIDE = 2
#: Letters of a word that is not broken in a table.
_WORD = 24

#: White on the colour of what went wrong.
_CLOSE = [{"label": "Close", "color": "white"}]

#: Seconds a page waits for what it shows before it is sent without.
_WITH_THE_PAGE = 0.3

_HEAD = """
<meta name="description" content="Which model answers, since when, and why">
<style>
:root { --ink:#16202e; --soft:#4d5a6b; --line:#d6dce5; --card:#fff; --back:#f4f6f9; --good:#12663a;
  --busy:#1b4fb3; --warn:#8f3d00; --none:#4d5a6b; --link:#1b4fb3;
  --c1:#1b4fb3; --c2:#b3520b; --c3:#12663a; --c4:#7a3aa8; --c5:#a3224f; }
.body--dark { --ink:#e8edf4; --soft:#a9b5c5; --line:#2f3a49; --card:#18212d; --back:#0e141c; --good:#6fd49b;
  --busy:#8db8ff; --warn:#ffb37a; --none:#a9b5c5; --link:#8db8ff;
  --c1:#8db8ff; --c2:#ffb37a; --c3:#6fd49b; --c4:#cfa4f2; --c5:#ff9bb8; }
body, .body--dark, .q-layout { background:var(--back) !important; color:var(--ink); }
.clm-head { background:var(--card) !important; color:var(--ink) !important;
  border-bottom:1px solid var(--line); }
.clm-nav a { color:var(--link); text-decoration:none; padding:.35rem .55rem; border-radius:6px; }
.clm-nav a[aria-current] { color:var(--ink); font-weight:600; background:var(--back); }
.clm-nav a:hover { text-decoration:underline; }
a:focus-visible, button:focus-visible, [tabindex]:focus-visible {
  outline:3px solid var(--busy); outline-offset:2px; }
.clm-card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:1rem; }
.clm-cards { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr)); gap:1rem;
  width:100%; }
.clm-soft { color:var(--soft); } .clm-good { color:var(--good); } .clm-busy { color:var(--busy); }
.clm-warn { color:var(--warn); } .clm-none { color:var(--none); }
.clm-main { width:100%; max-width:82rem; margin:0 auto; padding:1rem; gap:1rem; }
.clm-sparks { display:grid; grid-template-columns:auto 1fr; gap:.15rem .75rem; align-items:center; }
.clm-spark { display:block; } .clm-spark polyline { fill:none; stroke:var(--c1); stroke-width:1.8; }
.clm-spark circle { fill:var(--c1); } .clm-spark .held { stroke:var(--soft); stroke-dasharray:3 3; }
.clm-main h1 { font-size:1.5rem; font-weight:650; margin:0; line-height:1.3; }
.clm-main h2 { font-size:1.1rem; font-weight:600; margin:0; line-height:1.4; }
.clm-main h3 { font-size:.9rem; font-weight:600; margin:0; line-height:1.4; }
.body--dark input[type=date] { color-scheme:dark; }
.clm-table { width:100%; overflow-x:auto; }
.clm-table table { border-collapse:collapse; width:100%; font-size:.9rem; }
.clm-table th { text-align:left; color:var(--soft); font-weight:600; }
.clm-table th, .clm-table td { padding:.4rem .7rem .4rem 0; border-bottom:1px solid var(--line);
  vertical-align:top; overflow-wrap:anywhere; min-width:5rem; }
.clm-word { white-space:nowrap; }
@media (max-width:599px) {
  .clm-rows thead { position:absolute; left:-999rem; }
  .clm-rows table, .clm-rows tbody { display:block; }
  .clm-rows tr { display:block; padding:.5rem 0; border-bottom:1px solid var(--line); }
  .clm-rows td { display:grid; grid-template-columns:7.5rem minmax(0,1fr); gap:0 .75rem; min-width:0;
    padding:.15rem 0; border:0; }
  .clm-rows td::before { content:attr(data-head); color:var(--soft); font-weight:600; }
  .clm-rows td:first-child { display:block; font-weight:600; }
  .clm-rows td:first-child::before { content:none; }
}
.clm-log { max-height:14rem; overflow:auto; font:.78rem/1.5 ui-monospace,monospace; color:var(--soft);
  border:1px solid var(--line); border-radius:6px; padding:.4rem .6rem; overflow-wrap:anywhere; }
.clm-main a { color:var(--link); }
.clm-main .q-field__label, .clm-main .q-field__native, .clm-main .q-checkbox__label { color:var(--ink); }
.text-clm { color:var(--link); }
.q-btn { text-transform:none; }
.clm-skip { position:absolute; left:-999px; } .clm-skip:focus { left:1rem; top:.5rem; z-index:9999;
  background:var(--card); padding:.5rem; }
</style>
<script>
async function clmSend(method, path, body) {
  try {
    const answer = await fetch((window.path_prefix || "") + path, {
      method, headers: {"Content-Type": "application/json"},
      body: body === null ? undefined : JSON.stringify(body)});
    let found = {};
    try { found = await answer.json(); } catch (e) {}
    return {ok: answer.ok, status: answer.status, body: found};
  } catch (e) { return {ok: false, status: 0, body: {detail: "the service cannot be reached"}}; }
}
</script>
"""


def frame(session: Session, path: str) -> ui.column:
    """The head of a page and the place for the rest of it."""
    ui.add_head_html(_HEAD)
    ui.dark_mode(None)
    ui.colors(primary="#1b4fb3", negative="#b3261e", warning="#8f3d00", positive="#12663a")
    ui.query(".nicegui-content").classes("p-0")
    with ui.header().classes("clm-head items-center gap-x-4 gap-y-1 px-4 py-2"):
        ui.link("Skip to the page", "#main").classes("clm-skip")
        ui.label("CLM").classes("text-lg font-bold")
        with ui.element("nav").props('aria-label="Pages"').classes("clm-nav flex flex-wrap gap-1"):
            for where, name in PAGES.items():
                link = ui.link(name, where)
                if where == path:
                    link.props('aria-current="page"')
        ui.space()
        role = f"{session.caller.name} · {session.caller.role}"
        ui.label(role).classes("clm-soft text-sm")
    main = ui.column().classes("clm-main").props("role=main id=main")
    with main:
        ui.html(f"<h1>{PAGES[path]}</h1>", sanitize=False)
    return main


def may(session: Session, role: Role, button: ui.button) -> ui.button:
    """A button that says why, where the visitor's role does not cover it."""
    if not session.caller.may(role):
        button.disable()
        button.tooltip(f"needs the role {role}; you have {session.caller.role}")
    return button


async def send(
    session: Session, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[bool, dict[str, Any]]:
    """The browser's own request, under its own session and on record as such; refusals become a notice."""
    script = f"return await clmSend({json.dumps(method)}, {json.dumps(path)}, {json.dumps(body)})"
    answer = await ui.run_javascript(script, timeout=60.0)
    session.changed()
    if not answer["ok"]:
        said = answer["body"].get("detail") or f"the service answered {answer['status']}"
        ui.notify(f"{said[:1].upper()}{said[1:]}.", type="negative", timeout=8000, actions=_CLOSE)
    return answer["ok"], answer["body"]


async def sure(question: str, yes: str) -> bool:
    """Whether the visitor means it."""
    with ui.dialog() as dialog, ui.card().classes("clm-card"):
        dialog.props(f'aria-label="{yes}?"')
        ui.label(question)
        with ui.row().classes("self-end"):
            ui.button("No", on_click=lambda: dialog.submit(False)).props("flat color=clm autofocus")
            ui.button(yes, on_click=lambda: dialog.submit(True)).props("color=negative")
    answer = await dialog
    dialog.delete()
    return bool(answer)


class Fresh:
    """A part of a page that is drawn from what `read` answers, and anew when that has changed."""

    def __init__(
        self, read: Callable[[], Awaitable[Any]], draw: Callable[[Any], None], seconds: float = 5.0
    ) -> None:
        self._read, self._draw = read, draw
        self._shown: Any = None
        self._place = ui.column().classes("w-full gap-4").props('aria-live="off"')
        self._timer = ui.timer(seconds, self.look, immediate=False)

    async def begin(self) -> None:
        """Draws with the page where that is quick, else as soon as there is something to draw."""
        reading = asyncio.ensure_future(self._seen())
        done, _ = await asyncio.wait({reading}, timeout=_WITH_THE_PAGE)
        if done:
            return self._show(*reading.result())
        with self._place:
            ui.label("Looking…").classes("clm-soft")
        ui.timer(0.05, self.look, once=True)
        return None

    async def look(self) -> None:
        """Reads, and draws where there is something new."""
        self._show(*await self._seen())

    async def _seen(self) -> tuple[Any, Refused | None]:
        try:
            return await self._read(), None
        except Refused as error:
            return None, error

    def _show(self, found: Any, refusal: Refused | None) -> None:
        shown = (found, str(refusal))
        if shown == self._shown:
            return
        self._shown = shown
        self._place.clear()
        with self._place:
            if refusal is None:
                self._draw(found)
            else:
                apology(refusal)


def apology(error: Refused) -> None:
    """Why something cannot be shown, and what to do."""
    with ui.element("div").classes("clm-card w-full").props("role=alert"):
        said = str(error)
        ui.label(f"{said[:1].upper()}{said[1:]}.").classes("clm-warn")
        if error.status == 401:
            ui.link("Log in", "/login")


def empty(sentence: str, do: str = "", where: str = "") -> None:
    """There is nothing yet; what to do about it, and where."""
    with ui.element("div").classes("clm-card w-full"):
        ui.label(sentence)
        if do:
            ui.link(do, where)


def table(heads: tuple[str, ...], rows: list[tuple[Any, ...]], caption: str) -> None:
    """Plain cells; a cell that is a function draws itself.

    On a phone each row is a list under its first cell.
    """
    rows_of_their_own = " clm-rows" if len(heads) > _BESIDE else ""
    with (
        ui.element("div")
        .classes(f"clm-table{rows_of_their_own}")
        .props(f'tabindex=0 role=region aria-label="{caption}"')
    ):
        with ui.element("table"):
            with ui.element("thead"), ui.element("tr"):
                for head in heads:
                    with ui.element("th").props("scope=col"):
                        ui.label(head)
            with ui.element("tbody"):
                for row in rows:
                    with ui.element("tr"):
                        for head, cell in zip(heads, row, strict=True):
                            with ui.element("td").props(f'data-head="{head}"'), ui.element("div"):
                                cell() if callable(cell) else _said("—" if cell is None else str(cell))


def _said(words: str) -> None:
    """A word such as a version's name stays in one piece; a fingerprint may be broken."""
    label = ui.label(words)
    if " " not in words and len(words) <= _WORD:
        label.classes("clm-word")


def chart(
    options: dict[str, Any],
    told: str,
    height: str = "16rem",
    renderer: Literal["canvas", "svg"] = "canvas",
) -> None:
    """A plot; told: what it shows, for who does not see it. SVG takes the page's variables as colours."""
    soft = {"textStyle": {"color": "#7a8899"}}
    drawn = {"backgroundColor": "transparent", "animation": False, "useUTC": True, **soft, **options}
    ui.echart(drawn, renderer=renderer).classes("w-full").style(f"height:{height}").props(
        f'role=img aria-label="{told}"'
    )
