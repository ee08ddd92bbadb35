"""Finds model families by their entry points: built-in and third-party ones come through the same door."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from clm.core.domain import ModelType
from clm.core.errors import UnknownModelType
from clm.core.protocols import ModelFamily

GROUP = "clm.trainers"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def trainable_model_types() -> tuple[str, ...]:
    """Names of the families that are registered on this machine, sorted."""
    return tuple(sorted(_entry_points()))


def known_model_types() -> tuple[str, ...]:
    """The guide's four, then every further registered family."""
    builtin = tuple(str(m) for m in ModelType)
    return builtin + tuple(name for name in trainable_model_types() if name not in builtin)


def require_known_model_type(name: str) -> str:
    """`name`, installed here or not. Raises UnknownModelType for one nobody has heard of."""
    if name not in known_model_types():
        raise UnknownModelType(name, known_model_types())
    return name


def require_model_types(names: tuple[str, ...]) -> tuple[str, ...]:
    """`names`, without repetition, in order. Raises UnknownModelType for one nobody can train here."""
    valid = trainable_model_types()
    for name in names:
        if name not in valid:
            hint = " (no trainer is installed for it)" if name in tuple(ModelType) else ""
            raise UnknownModelType(name, valid, hint=hint)
    return tuple(dict.fromkeys(str(name) for name in names))


@cache
def model_family(model_type: str) -> ModelFamily:
    """The family registered as `model_type`; its library is imported now. Raises UnknownModelType."""
    require_model_types((model_type,))
    family: ModelFamily = _entry_points()[model_type].load()()
    return family
