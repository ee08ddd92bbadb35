"""Hyper-parameters with their ranges, presets and the names users know them by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from clm.core.errors import BadInput

Value = float | int | bool


@dataclass(frozen=True, slots=True)
class Knob:
    """One hyper-parameter: canonical name, kind, allowed range (both ends included), its aliases."""

    name: str
    kind: type[int] | type[float] | type[bool]
    low: float = 0.0
    high: float = float("inf")
    aliases: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The range in words."""
        if self.kind is bool:
            return "true or false"
        number = "a whole number" if self.kind is int else "a number"
        return f"{number} from {self.low:g} to {self.high:g}" if isfinite(self.high) else (
            f"{number}, at least {self.low:g}"
        )  # fmt: skip

    def check(self, family: str, given: object) -> Value:
        """`given` as this knob's kind. Raises BadInput naming the family, the knob and its range."""
        field = f"{family}.{self.name}"
        if self.kind is bool:
            if not isinstance(given, bool):
                raise BadInput(field, given, self.allowed)
            return given
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise BadInput(field, given, self.allowed)
        if not self.low <= given <= self.high or (self.kind is int and given != int(given)):
            raise BadInput(field, given, self.allowed)
        return self.kind(given)


@dataclass(frozen=True, slots=True)
class KnobTable:
    """All knobs of one family and its presets; the first preset is the default."""

    family: str
    knobs: tuple[Knob, ...]
    presets: Mapping[str, Mapping[str, Value]]

    def resolve(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Every knob's value: the preset (`params["preset"]`, else the default one), then `params`.

        Aliases become canonical names; of two names for one knob the later wins, so that a call's wins over
        the trainer's. Raises BadInput for an unknown name or preset, or a value out of range.
        """
        preset = params.get("preset", next(iter(self.presets)))
        if preset not in self.presets:
            raise BadInput(f"{self.family}.preset", preset, ", ".join(self.presets))
        resolved = dict(self.presets[preset])
        by_name = {alias: knob for knob in self.knobs for alias in (knob.name, *knob.aliases)}
        for name, value in params.items():
            if name == "preset":
                continue
            knob = by_name.get(name)
            if knob is None:
                allowed = "preset, " + ", ".join(knob.name for knob in self.knobs)
                raise BadInput(f"{self.family} parameter", name, allowed)
            resolved[knob.name] = knob.check(self.family, value)
        return resolved
