"""Figures that README and docs quote are what a command made; `make rehearse` makes the quick ones again."""

from __future__ import annotations

import re
import subprocess

import pytest

from benchmarks.figures import PAGES, RESULTS, ROOT, NotHere, Quoted, Result, quoted
from benchmarks.figures.make import FIGURES
from clm.registry.migrate import HEAD

QUOTED = [found for page in PAGES for found in quoted(page)]
#: Minutes that a rehearsal has for a figure; the longer ones are compared with what is committed only.
QUICK = [name for name, figure in FIGURES.items() if figure.minutes <= 1]
_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def _id(found: Quoted) -> str:
    return f"{found.page.name} {found.name}"


@pytest.mark.parametrize("found", QUOTED, ids=_id)
def test_what_a_page_shows_is_what_is_kept_of_the_command(found: Quoted) -> None:
    assert found.text == Result.read(found.name).text


def test_every_figure_is_quoted_and_kept_and_nothing_else_is() -> None:
    assert {found.name for found in QUOTED} == set(FIGURES) == {file.stem for file in RESULTS.iterdir()}


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_kept_names_its_command_and_a_commit_of_this_history(name: str) -> None:
    kept = Result.read(name)

    assert kept.command == FIGURES[name].command
    assert re.fullmatch(r"[0-9a-f]{10}", kept.commit)
    known = ["git", "-C", str(ROOT), "merge-base", "--is-ancestor", kept.commit, "HEAD"]
    shallow = ["git", "-C", str(ROOT), "rev-parse", "--is-shallow-repository"]
    if subprocess.run(shallow, capture_output=True, text=True, check=False).stdout.strip() != "false":
        pytest.skip("the history is not here, or not all of it")
    assert subprocess.run(known, check=False).returncode == 0


def test_revisions_that_pages_show_are_todays() -> None:
    shown = {
        (page.name, number)
        for page in PAGES
        for number in re.findall(r"(?:is at|,) revision (\d{4})", page.read_text())
    }

    before = f"{int(HEAD) - 1:04}"
    assert {number for _, number in shown} == {HEAD, before}, shown
    assert f"clm db downgrade {before} --yes" in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.rehearse
@pytest.mark.parametrize("name", QUICK)
def test_made_again_it_comes_to_the_same(name: str) -> None:
    try:
        now = FIGURES[name].make()
    except NotHere as why:
        pytest.skip(str(why))

    then = Result.read(name).text
    assert _NUMBER.sub("#", now) == _NUMBER.sub("#", then), now
    far = [pair for pair in zip(_NUMBER.findall(now), _NUMBER.findall(then), strict=True) if _far(*pair)]
    assert far == [], now


def _far(now: str, then: str) -> bool:
    """More apart than another processor's rounding may bring them: a fiftieth, or two in the last place."""
    a, b = (float(text.replace("−", "-").replace(",", "")) for text in (now, then))
    places = len(then.partition(".")[2])
    return abs(a - b) > max(abs(b) / 50, 2.01 * 10.0**-places)
