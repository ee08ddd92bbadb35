"""A version's known answer: what it forecast of some rows when it was made, to be asked wherever it is read.

A file may be intact and yet be understood otherwise: a library of another version reads it without a word and
answers something else. Its hash cannot tell; a forecast that is known beforehand can.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clm.core import plugins, scoring
from clm.core.domain import FloatArray, ModelArtifact
from clm.core.newest import forecast_row
from clm.core.protocols import AnsweringRegistry, ModelRegistry, RowModel, TrainedModel, TreeModel

Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]
#: Rows that are kept, and among how many of the newest they are chosen.
_KEPT, _CHOSEN_FROM = 16, 512
#: How far answers may be off, of the spread of the known ones and zero. Trees add float32 in one order or
#: another; networks' kernels differ from processor to processor.
OF_TREES, OF_OTHERS = 1e-5, 1e-3


@dataclass(frozen=True, slots=True)
class Strayed:
    """A row that is answered otherwise. Log returns."""

    known: float
    now: float


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """rows: features as the model knows them, of shape (n, features). answers: log returns, of length n."""

    rows: Rows
    answers: FloatArray

    @classmethod
    def of(cls, model: TrainedModel, rows: pd.DataFrame) -> KnownAnswer:
        """By a model that has just been trained on `rows`, or is read as it was trained; at least one row.

        Rows from the lowest forecast to the highest, so that any two models that differ at all do so here.
        """
        seen = scoring.inputs(model, rows).iloc[-_CHOSEN_FROM:][list(model.feature_names)]
        order = np.argsort(scoring.forecasts(model, seen, "candidate"), kind="stable")
        places = np.unique(np.linspace(0, len(order) - 1, _KEPT).round().astype(int))
        kept = seen.iloc[np.sort(order[places])]
        # What is kept is float32: asked as it is kept, lest a rounding look like another answer.
        values = np.ascontiguousarray(kept.to_numpy(dtype=np.float32))
        frame = pd.DataFrame(values, columns=kept.columns)
        return cls(values, scoring.forecasts(model, frame, "candidate"))

    def strayed(self, model: TrainedModel) -> Strayed | None:
        """The row that a model answers most unlike what is known, by either of its ways; None: it does not.

        Raises what forecasting raises: SchemaMismatch, TrainingFailed.
        """
        names = list(model.feature_names)
        if len(names) != self.rows.shape[1]:
            return Strayed(float(self.answers[0]), float("nan"))
        frame = pd.DataFrame(self.rows, columns=names)
        ways = [scoring.forecasts(model, frame, "version")]
        if isinstance(model, RowModel):
            ways.append(np.array([forecast_row(model, names, row, "version") for row in self.rows]))
        spread = float(np.ptp([*self.answers, 0.0])) or np.finfo(np.float64).tiny
        allowed = (OF_TREES if isinstance(model, TreeModel) else OF_OTHERS) * spread
        for said in ways:
            off = np.abs(said - self.answers)
            worst = int(np.argmax(off))
            if off[worst] > allowed:
                return Strayed(float(self.answers[worst]), float(said[worst]))
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns into an equal one; doubles to the last bit."""
        packed = zlib.compress(self.rows.astype("<f4").tobytes(), 9)
        return {
            "format": 1, "shape": list(self.rows.shape), "rows": base64.b64encode(packed).decode(),
            "answers": self.answers.tolist(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KnownAnswer:
        """The inverse of `to_json`."""
        raw = zlib.decompress(base64.b64decode(data["rows"]))
        rows = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(data["shape"])
        return cls(rows, np.array(data["answers"], dtype=np.float64))


def keep_answer(
    registry: ModelRegistry, artifact: ModelArtifact, model: TrainedModel, rows: pd.DataFrame
) -> None:
    """Of a version from before there were known answers, where the very libraries that made it read it.

    rows: features it could have been asked about. By others, what it answers may be wrong already.
    """
    if artifact.known_answer is not None or not isinstance(registry, AnsweringRegistry):
        return
    if _same_libraries(artifact):
        known = KnownAnswer.of(model, rows).to_json()
        registry.keep_answer(artifact.model_type, artifact.version, known)


def _same_libraries(artifact: ModelArtifact) -> bool:
    made = dict(artifact.library_versions)
    return bool(made) and made == dict(plugins.model_family(artifact.model_type).library_versions())
