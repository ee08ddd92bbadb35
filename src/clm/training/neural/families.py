"""N-HiTS and PatchTST as families like any other: rows in, one sealed file out, forecasts from a child."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from clm.core.ambit import counter
from clm.core.domain import SCALE, FloatArray, FloatMatrix, ModelType, past_name
from clm.core.errors import ArtifactCorrupt, BadInput, SchemaMismatch
from clm.training.knobs import Knob, KnobTable, Value
from clm.training.metadata import Metadata
from clm.training.neural.messages import Message
from clm.training.neural.process import KEEPER, Child
from clm.training.neural.tensors import Described, from_bytes
from clm.training.scaling import feature_matrix, training_target
from clm.training.seal import seal, unseal

#: What is forecast is the next candle's return; its own past, each in units of the volatility it closed with.
RETURNS = "return_1"
#: Looked back on besides, by N-HiTS: how large the move was, and who bought.
EXOGENOUS = ("shock", "taker_share")

_COMMON = (
    Knob("input_size", int, 16, 1_000, ("context_length",)),
    Knob("max_steps", int, 1, 100_000),
    Knob("learning_rate", float, 1e-6, 1, ("lr",)),
    Knob("weight_decay", float, 0, 10),
    Knob("batch_size", int, 8, 65_536),
    Knob("hidden_size", int, 4, 4_096),
    Knob("dropout", float, 0, 0.9),
    Knob("early_stop_patience", int, 1, 10_000),
    Knob("val_check_steps", int, 1, 10_000),
    Knob("validation_share", float, 0.02, 0.5),
    Knob("target_clip", float, 0.1, 100),
    Knob("num_threads", int, 1, 256, ("nthread", "n_jobs")),
    Knob("gpu", bool),
)
_SHARED: Mapping[str, Value] = {
    "input_size": 96, "weight_decay": 0.1, "batch_size": 256, "early_stop_patience": 5, "val_check_steps": 20,
    "validation_share": 0.1, "target_clip": 4.0, "num_threads": 1, "gpu": True,
}  # fmt: skip


class NeuralModel:
    """A fitted network as bytes; who forecasts by it is the process's child (`process.KEEPER`).

    cost: seconds and peak_bytes of its training, where it was trained here.
    """

    suffix = ".safetensors"

    def __init__(self, described: Described, raw: bytes, cost: Mapping[str, Any] | None = None) -> None:
        self._described, self._raw = described, raw
        self.cost = dict(cost or {})

    @property
    def model_type(self) -> str:
        return self._described.model_type

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self._described.metadata.feature_names

    @property
    def params(self) -> Mapping[str, Any]:
        return self._described.params

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self._raw).hexdigest()

    def predict(self, df: pd.DataFrame) -> FloatArray:
        matrix = feature_matrix(df, self.feature_names)
        if not len(matrix):
            return np.empty(0)
        windows = self._windows(matrix)
        answer = KEEPER.ask(self._sha256, self._raw, {"do": "predict"}, windows=windows)
        return answer.arrays["z"].astype(np.float64) * self._sigma(matrix)

    def contributions(self, df: pd.DataFrame) -> tuple[FloatArray, FloatMatrix]:
        """By integrated gradients: what is left over, and what is said of no move at all, is the base."""
        matrix = feature_matrix(df, self.feature_names)
        windows, sigma = self._windows(matrix), self._sigma(matrix)
        answer = KEEPER.ask(self._sha256, self._raw, {"do": "contributions"}, windows=windows)
        parts: FloatMatrix = np.zeros(matrix.shape)
        for channel, places in enumerate(self._places):
            parts[:, places] = answer.arrays["parts"][:, channel] * sigma[:, None]
        base: FloatArray = self.predict(df) - parts.sum(axis=1)
        return base, parts

    def to_bytes(self) -> bytes:
        return seal(self._raw)

    @cached_property
    def _places(self) -> list[list[int]]:
        return places_of(self._described)

    def _windows(self, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """float32 of shape (rows, channels, input_size)."""
        return windows_of(matrix, self._places)

    def _sigma(self, matrix: np.ndarray[Any, Any]) -> FloatArray:
        sigma: FloatArray = matrix[:, self.feature_names.index(SCALE)].astype(np.float64)
        if not (sigma > 0).all():
            raise SchemaMismatch(f"{SCALE} must be positive")
        return sigma


class _NeuralFamily:
    """What both have in common: everything but the table."""

    name: str
    table: KnobTable
    exogenous: tuple[str, ...] = ()
    apart = True

    def check(self, params: Mapping[str, Any]) -> None:
        """See `CheckingFamily`."""
        self.table.resolve(params)

    def past(self, params: Mapping[str, Any]) -> Mapping[str, int]:
        size = int(self.table.resolve(params)["input_size"])
        return dict.fromkeys((RETURNS, *self.exogenous), size)

    def inputs(self, columns: Sequence[str], params: Mapping[str, Any]) -> list[str]:
        size = int(self.table.resolve(params)["input_size"])
        wanted = {SCALE, *(n for channel in (RETURNS, *self.exogenous) for n in window_of(channel, size))}
        lacking = sorted(wanted - set(columns))
        if lacking:
            raise SchemaMismatch(
                f"{self.name} looks back on {size} candles and needs columns such as {lacking[0]}: "
                f"compute features with QuantumFeatureEngineer(past={dict(self.past(params))})"
            )
        return [column for column in columns if column in wanted]

    def train(self, df: pd.DataFrame, params: Mapping[str, Any], seed: int) -> NeuralModel:
        knobs = self.table.resolve(params)
        names = tuple(self.inputs([str(c) for c in df.columns], params))
        label = training_target(df, {**knobs, "target_scaling": True}).astype(np.float32)
        metadata = Metadata(self.name, names, {**knobs, "target_scaling": True, "seed": seed})
        described = Described(metadata, self.exogenous)
        windows = windows_of(feature_matrix(df[[*names]], names), places_of(described))
        question = Message(
            {"do": "train", "described": described.to_json(), "steps": int(knobs["max_steps"])},
            {"windows": windows, "label": label},
        )
        child = Child(int(knobs["num_threads"]))
        try:
            answer = child.ask(question, seconds=None, count=counter(int(knobs["max_steps"]), "steps"))
        finally:
            child.close()
        return NeuralModel(described, answer.raw, answer.head["cost"])

    def from_bytes(self, raw: bytes) -> NeuralModel:
        payload = unseal(raw, self.name)
        try:
            described, _ = from_bytes(payload)
            self._require_own(described)
        except ValueError as exc:
            raise ArtifactCorrupt(f"{self.name}: the file cannot be read: {exc}") from exc
        return NeuralModel(described, payload)

    def library_versions(self) -> Mapping[str, str]:
        return {name: version(name) for name in ("torch", "neuralforecast", "safetensors", "numpy")}

    def _require_own(self, described: Described) -> None:
        """Raises ValueError for a file of another family, or parameters no training here would have had."""
        if described.model_type != self.name:
            raise ValueError(f"it holds a {described.model_type[:40]!r} model")
        own = {name: value for name, value in described.params.items() if name != "seed"}
        try:
            if self.table.resolve(own) != own or described.exogenous != self.exogenous:
                raise ValueError("its parameters are not those of a training")
            self.inputs(described.metadata.feature_names, own)
        except (SchemaMismatch, BadInput) as exc:
            raise ValueError(str(exc)) from exc


class NHITSFamily(_NeuralFamily):
    """Neural hierarchical interpolation (Challu et al. 2023), on returns, their size, and who bought."""

    name = str(ModelType.NHITS)
    exogenous = EXOGENOUS
    table = KnobTable(
        name, _COMMON,
        {
            "regularised": {
                **_SHARED, "max_steps": 200, "learning_rate": 3e-4, "hidden_size": 64, "dropout": 0.2,
            },
            "fast": {**_SHARED, "max_steps": 100, "learning_rate": 1e-3, "hidden_size": 32, "dropout": 0.1},
            "accurate": {
                **_SHARED, "max_steps": 1_000, "learning_rate": 3e-4, "hidden_size": 256, "dropout": 0.2,
            },
        },
    )  # fmt: skip


class PatchTSTFamily(_NeuralFamily):
    """A transformer over patches of the past (Nie et al. 2023), on returns alone."""

    name = str(ModelType.PATCHTST)
    table = KnobTable(
        name,
        (
            *_COMMON, Knob("patch_len", int, 2, 512), Knob("stride", int, 1, 512),
            Knob("encoder_layers", int, 1, 12), Knob("n_heads", int, 1, 32),
        ),
        {
            "regularised": {
                **_SHARED, "max_steps": 200, "learning_rate": 3e-4, "hidden_size": 32, "dropout": 0.3,
                "patch_len": 16, "stride": 8, "encoder_layers": 2, "n_heads": 4,
            },
            "fast": {
                **_SHARED, "max_steps": 100, "learning_rate": 1e-3, "hidden_size": 16, "dropout": 0.2,
                "patch_len": 16, "stride": 16, "encoder_layers": 1, "n_heads": 4,
            },
            "accurate": {
                **_SHARED, "max_steps": 1_000, "learning_rate": 1e-4, "hidden_size": 128, "dropout": 0.2,
                "patch_len": 16, "stride": 8, "encoder_layers": 3, "n_heads": 16,
            },
        },
    )  # fmt: skip


def window_of(feature: str, size: int) -> list[str]:
    """The columns of a feature's last `size` values, oldest first."""
    return [*(past_name(feature, lag) for lag in range(size - 1, 0, -1)), feature]


def places_of(described: Described) -> list[list[int]]:
    """Per channel, returns first, the columns of its window, oldest first."""
    at = {name: place for place, name in enumerate(described.metadata.feature_names)}
    size, channels = int(described.params["input_size"]), (RETURNS, *described.exogenous)
    return [[at[name] for name in window_of(channel, size)] for channel in channels]


def windows_of(matrix: np.ndarray[Any, Any], places: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
    """float32 of shape (rows, channels, size)."""
    return np.ascontiguousarray(np.stack([matrix[:, list(columns)] for columns in places], axis=1))
