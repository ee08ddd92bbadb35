"""Which features this process computes, and why it does not compute others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from clm.core.protocols import CatalogueEngineer, FeatureEngineer, FormerEngineer


def _gone(names: Collection[str]) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Sight:
    """names: what is computed, always or for who reads it, as columns are named. why_not: of others, what
    they are lacking for; None: they are gone, and no setting brings them back.
    """

    names: Collection[str]
    why_not: Callable[[Collection[str]], str | None] = _gone

    @classmethod
    def of(cls, engineer: FeatureEngineer) -> Sight:
        """What an engineer computes; of one without a catalogue nobody can tell what it might compute."""
        names = frozenset(engineer.get_feature_names())
        if isinstance(engineer, FormerEngineer):
            names |= frozenset(engineer.former)
        if isinstance(engineer, CatalogueEngineer):
            return cls(names, engineer.why_not)
        kind = type(engineer).__name__
        return cls(names, lambda lacking: f"its {kind} does not know them")
