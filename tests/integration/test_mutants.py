"""The mutants are mutants still: the code they break is there, and so are the tests that must notice."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.mutants.__main__ import Mutant, unfit_for

FILE = Path(__file__).parents[1] / "mutants" / "mutants.toml"
EVERY = [
    Mutant(**{**entry, "killed_by": tuple(entry["killed_by"])})
    for entry in tomllib.loads(FILE.read_text(encoding="utf-8"))["mutant"]
]


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: mutant.name)
def test_finds_what_it_breaks(mutant: Mutant) -> None:
    assert unfit_for(mutant) is None


def test_there_are_enough_of_them() -> None:
    assert len(EVERY) >= 40
