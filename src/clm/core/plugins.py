"""Finds model families by their entry points: built-in and third-party ones come through the same door."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

from clm.core.domain import ModelType
from clm.core.errors import UnknownModelType
from clm.core.extras import how_to_install, requirements
from clm.core.protocols import ModelFamily

GROUP = "clm.trainers"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def trainable_model_types() -> tuple[str, ...]:
    """Names of the families that can be trained on this machine, sorted."""
    return tuple(sorted(name for name in _entry_points() if lacking(name) is None))


@cache
def lacking(model_type: str) -> str | None:
    """Why a known model type cannot be trained here, in a few words; None: it can."""
    point = _entry_points().get(model_type)
    if point is None:
        return "no trainer is installed for it"
    if point.dist is None or not point.extras:
        return None
    needed = [line for extra in point.extras for line in requirements(point.dist, extra)]
    if all(map(_installed, needed)):
        return None
    return f"not installed: {how_to_install(*point.extras, package=point.dist.name)}"


def _installed(requirement: str) -> bool:
    """Some version of it; which one is pip's business."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    try:
        version(name.group() if name else requirement)
    except PackageNotFoundError:
        return False
    return True


def known_model_types() -> tuple[str, ...]:
    """The guide's four, then every further registered family."""
    builtin = tuple(str(m) for m in ModelType)
    return builtin + tuple(name for name in sorted(_entry_points()) if name not in builtin)


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
            hint = f" ({lacking(name)})" if name in known_model_types() else ""
            raise UnknownModelType(name, valid, hint=hint)
    return tuple(dict.fromkeys(str(name) for name in names))


@cache
def model_family(model_type: str) -> ModelFamily:
    """The family registered as `model_type`; its library is imported now. Raises UnknownModelType."""
    require_model_types((model_type,))
    family: ModelFamily = _entry_points()[model_type].load()()
    return family
