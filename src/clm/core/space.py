"""Which of a family's hyper-parameters a search may try, and between which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from clm.core import plugins
from clm.core.errors import BadInput
from clm.core.protocols import ModelFamily

Value = float | int


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends included. log: proposed evenly over orders of magnitude. whole: whole numbers only."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


Space = Mapping[str, Range]


@runtime_checkable
class SearchableFamily(ModelFamily, Protocol):
    """A family whose recipes can be searched. Optional: families may do without.

    Names are those of `TrainedModel.params`. Bounds keep a fit about as cheap as the default's, wherever a
    proposal falls; what a family looks back on (`PastFamily.past`) is not to depend on what is searched.
    """

    def space(self) -> Space: ...


def space_of(model_type: str) -> Space:
    """Raises UnknownModelType, and BadInput for a family that offers none."""
    family = plugins.model_family(model_type)
    if not isinstance(family, SearchableFamily):
        allowed = "a model type whose family offers a space to search, such as xgboost or lightgbm"
        raise BadInput("models", model_type, allowed)
    return family.space()
