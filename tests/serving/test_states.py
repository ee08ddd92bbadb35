"""What is said of a champion's health, and of a mixture's: nothing is called healthy that loses to zero."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clm.core.skill import LEAST, Skill
from clm.serving.desk import _state_of_mixture
from tests.serving.test_snapshot import SERVED

NONE, FEW = Skill(0), Skill(LEAST - 1, r2=0.2, z=1.0)
GOOD, LOSING, WORSE = Skill(500, r2=0.01, z=1.0), Skill(500, r2=-0.01, z=-1.0), Skill(500, r2=-0.3, z=-4.0)


@pytest.mark.parametrize(
    ("own", "members", "state"),
    [
        (NONE, ("healthy", "healthy"), "healthy"),
        (NONE, ("healthy", "guarded"), "healthy"),
        (NONE, ("healthy", "unproven"), "unproven"),
        (NONE, ("healthy", "worse_than_zero"), "unproven"),
        (NONE, ("worse_than_zero", "worse_than_zero"), "worse_than_zero"),
        (FEW, ("unproven", "unproven"), "unproven"),
        (GOOD, ("unproven", "healthy"), "healthy"),
        (GOOD, ("worse_than_zero", "worse_than_zero"), "worse_than_zero"),
        (LOSING, ("healthy", "healthy"), "unproven"),
        (WORSE, ("healthy", "healthy"), "worse_than_zero"),
    ],
)
def test_a_mixture_is_judged_by_its_record_and_before_it_has_one_by_its_members(
    own: Skill, members: tuple[str, ...], state: str
) -> None:
    assert _state_of_mixture(own, [replace(SERVED, state=member) for member in members]) == state
