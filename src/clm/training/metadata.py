"""What a model file must say besides the trees: whose it is, its features by name, what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

_KEYS = {"feature_names", "format", "model_type", "params"}


@dataclass(frozen=True, slots=True)
class Metadata:
    """One line of JSON inside the file."""

    model_type: str
    feature_names: tuple[str, ...]
    params: Mapping[str, Any]

    def to_json(self) -> str:
        fields = {"feature_names": list(self.feature_names), "format": 1, "model_type": self.model_type}
        return json.dumps({**fields, "params": dict(self.params)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, features: int, expected_type: str) -> Metadata:
        """features: how many the trees know. Raises ValueError with a sentence."""
        read = _read(text)
        if not isinstance(read, dict) or set(read) != _KEYS:
            raise ValueError("its metadata are not those CLM writes")
        if read["format"] != 1 or read["model_type"] != expected_type:
            found = f"{read['model_type']!r:.40} model of format {read['format']!r:.40}"
            raise ValueError(f"it holds a {found}; expected: {expected_type}, format 1")
        names, params = read["feature_names"], read["params"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its feature names are no names")
        if len(set(names)) != len(names) or len(names) != features:
            raise ValueError("its trees and its feature names do not belong together")
        if not isinstance(params, dict) or not isinstance(params.get("target_scaling"), bool):
            raise ValueError("its parameters do not say whether the target was scaled")  # noqa: TRY004  # one kind of error for who calls
        if not all(isinstance(value, int | float) for value in params.values()):
            raise ValueError("one of its parameters is no number")
        return cls(expected_type, tuple(names), params)


def _read(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its metadata nest too deep") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"its metadata hold {constant}, which is no JSON")
