"""A network as one file: safetensors, its header with our metadata; numbers and names, nothing that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clm.training.metadata import Metadata

_METADATA = "clm"
_TYPES = ("F32", "I64")


@dataclass(frozen=True, slots=True)
class Described:
    """metadata: as of every model. returns, scale: the features that are forecast and scaled by.

    exogenous: features whose past is looked back on besides.
    """

    metadata: Metadata
    exogenous: tuple[str, ...]

    @property
    def model_type(self) -> str:
        return self.metadata.model_type

    @property
    def params(self) -> Mapping[str, Any]:
        """Networks always learn scaled targets; that it is so stands in the metadata, and is no parameter."""
        return {name: value for name, value in self.metadata.params.items() if name != "target_scaling"}

    def to_json(self) -> dict[str, Any]:
        return {"metadata": self.metadata.to_json(), "exogenous": list(self.exogenous)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Described:
        """Raises ValueError with a sentence."""
        if set(data) != {"metadata", "exogenous"}:
            raise ValueError("its metadata are not those CLM writes")
        head = json.loads(data["metadata"])
        names, kind = head.get("feature_names"), head.get("model_type")
        if not isinstance(names, list) or not isinstance(kind, str):
            raise ValueError("its metadata are not those CLM writes")  # noqa: TRY004  # one kind of error
        metadata = Metadata.from_json(data["metadata"], len(names), kind)
        exogenous = data["exogenous"]
        if not isinstance(exogenous, list) or not set(exogenous) <= set(names):
            raise ValueError("it looks back on features it does not know")
        return cls(metadata, tuple(exogenous))


def to_bytes(described: Described, state: Mapping[str, Any]) -> bytes:
    """Equal networks give equal bytes. state: name → tensor."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in sorted(state.items())}
    text = json.dumps(described.to_json(), sort_keys=True, separators=(",", ":"))
    return bytes(save(tensors, {_METADATA: text}))


def from_bytes(raw: bytes) -> tuple[Described, dict[str, np.ndarray[Any, Any]]]:
    """(what it is, its weights). Raises ValueError with a sentence for what `to_bytes` did not write."""
    from safetensors import SafetensorError, deserialize

    described = Described.from_json(_header(raw))
    try:
        found = deserialize(raw)  # type: ignore[no-untyped-call,unused-ignore]
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    weights = {}
    for name, tensor in found:
        if tensor["dtype"] not in _TYPES:
            raise ValueError(f"{name[:60]} holds {str(tensor['dtype'])[:20]}, expected: {', '.join(_TYPES)}")
        kind = np.float32 if tensor["dtype"] == "F32" else np.int64
        values = np.frombuffer(bytes(tensor["data"]), dtype=kind).reshape(tensor["shape"])
        if kind is np.float32 and not np.isfinite(values).all():
            raise ValueError(f"{name[:60]} holds weights that are not finite")
        weights[name] = values
    return described, weights


def _header(raw: bytes) -> Mapping[str, Any]:
    """Our part of the header; the library checks the rest."""
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise ValueError("it is cut short")
    try:
        head = json.loads(raw[8 : 8 + size])
        told: Mapping[str, Any] = json.loads(head["__metadata__"][_METADATA])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("it has no header of CLM's") from error
    if not isinstance(told, dict):
        raise ValueError("its metadata are not those CLM writes")  # noqa: TRY004  # one kind of error for who calls
    return told
