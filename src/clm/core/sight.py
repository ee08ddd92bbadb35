"""Which features this process computes, and why it does not compute others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from clm.core.protocols import CatalogueEngineer, FeatureEngineer


def _gone(names: Collection[str]) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Sight:
    """names: what is computed, as columns are named. why_not: of others, what they are lacking for; None:
    they are gone, and no setting brings them back.
    """

    names: Collection[str]
    why_not: Callable[[Collection[str]], str | None] = _gone

    @classmethod
    def of(cls, engineer: FeatureEngineer) -> Sight:
        """What an engineer computes; of one without a catalogue nobody can tell what it might compute."""
        if isinstance(engineer, CatalogueEngineer):
            return cls(frozenset(engineer.get_feature_names()), engineer.why_not)
        kind = type(engineer).__name__
        return cls(frozenset(engineer.get_feature_names()), lambda names: f"its {kind} does not know them")
