"""No promise is lost on the way: every test there once was runs somewhere, or has an heir and a reason."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.quick import REAL

pytestmark = pytest.mark.rehearse
ROOT = Path(__file__).parents[2]
#: Ids as they were when tests were first parted into quick ones and rehearsals; and what became of some.
KNOWN, HEIRS = ROOT / "tests" / "ids" / "known.txt", ROOT / "tests" / "ids" / "heirs.txt"
_MERGED_AT_MOST = 60


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """Of all folders, whatever runs them."""
    command = [REAL, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {_placeless(line) for line in done.stdout.splitlines() if "::" in line}


def _placeless(test: str) -> str:
    """A block of code on a page keeps its promise wherever on it it stands."""
    return re.sub(r"(\.md):\d+", r"\1", test)


def _heirs() -> dict[str, str]:
    lines = [line for line in HEIRS.read_text().splitlines() if line and not line.startswith("#")]
    entries = [line.split("\t") for line in lines]
    assert all(len(entry) == 3 and all(entry) for entry in entries), "old id, heir, reason"
    return {old: heir for old, heir, _ in entries}


def test_every_test_there_was_runs_somewhere_or_has_an_heir(collected: set[str]) -> None:
    heirs = _heirs()

    assert {_placeless(test) for test in KNOWN.read_text().splitlines()} - collected == set(heirs)


def test_heirs_are_there_and_few(collected: set[str]) -> None:
    heirs = _heirs()

    assert set(heirs.values()) <= collected
    assert len(heirs) <= _MERGED_AT_MOST
