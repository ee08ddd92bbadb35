"""Figures and tables that README and docs quote: what makes each, and where what came of it is kept.

A page marks what it quotes with `<!-- figure: NAME -->`; the fence or table right below is the figure's. A
file of the same name in `results/` has it too, with the command that made it and the commit it was made at.
`python -m benchmarks.figures` (`make figures`) makes them again and writes both.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Real candles beside the project, which it does not contain.
CANDLES = ROOT.parent / "shared" / "data" / "candles"
_MARK = re.compile(r"<!-- figure: ([a-z0-9-]+) -->\n")


class NotHere(Exception):
    """What a figure is made of is not on this machine; the sentence says what."""


@dataclass(frozen=True)
class Figure:
    """command: as one types it. make: what of its output is quoted. small: the same way gone with next to
    nothing, over the candles in a folder, so that a test sees that command and table still go together.

    minutes: about how long it takes on two cores; what takes more than one is compared, not made, by
    `make rehearse`. `make` raises NotHere where the real candles are not there that it needs.
    """

    command: str
    minutes: float
    make: Callable[[], str]
    small: Callable[[Path], str] | None = None


@dataclass(frozen=True)
class Quoted:
    """A figure on a page: from line to line of its text, and that text."""

    name: str
    page: Path
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Result:
    """What came of a figure's command, and at which commit."""

    command: str
    commit: str
    text: str

    def write(self, name: str) -> None:
        head = f"command: {self.command}\ncommit: {self.commit}\n---\n"
        (RESULTS / f"{name}.txt").write_text(head + self.text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, name: str) -> Result:
        """Raises FileNotFoundError, ValueError for a file without its head."""
        head, mark, text = (RESULTS / f"{name}.txt").read_text(encoding="utf-8").partition("---\n")
        told = dict(line.split(": ", 1) for line in head.splitlines())
        if not mark:
            raise ValueError(f"{name}: no line of dashes after command and commit")
        return cls(told["command"], told["commit"], text.rstrip("\n"))


def quoted(page: Path) -> Iterator[Quoted]:
    """The figures of a page. Raises ValueError for a mark with neither fence nor table below."""
    text = page.read_text(encoding="utf-8")
    for mark in _MARK.finditer(text):
        start = mark.end()
        if text.startswith("```", start):
            start = text.index("\n", start) + 1
            end = text.index("\n```", start) + 1
        elif text.startswith("|", start):
            after = text.find("\n\n", start)
            end = (after if after >= 0 else len(text.rstrip("\n"))) + 1
        else:
            raise ValueError(f"{page.name}: neither a fence nor a table below {mark[0].strip()}")
        yield Quoted(mark[1], page, start, end, text[start:end].rstrip("\n"))


def put(name: str, text: str) -> None:
    """Into every page that quotes the figure."""
    for page in PAGES:
        for found in [one for one in quoted(page) if one.name == name]:
            whole = page.read_text(encoding="utf-8")
            page.write_text(whole[: found.start] + text + "\n" + whole[found.end :], encoding="utf-8")


def commit() -> str:
    """The checkout's, with a plus where something is not committed."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
    )
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src", "benchmarks/*.py"], check=False)
    return head.stdout.strip() + ("+" if changed.returncode else "")
