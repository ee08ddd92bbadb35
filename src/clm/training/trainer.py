"""The trainer: picks the family, hands it rows whose targets are known, one seed, one set of parameters."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np
import pandas as pd

from clm.core.domain import TARGET, ModelType, feature_columns, is_past
from clm.core.errors import BadInput, ClmError, InsufficientData, TrainingFailed
from clm.core.plugins import model_family
from clm.core.protocols import BinningFamily, ModelFamily, PastFamily, TrainedModel
from clm.core.timeline import MIN_ROWS
from clm.logs import logger

log = logger(__name__)


class QuantumModelTrainer:
    """Trains every family registered on this machine.

    params: per family, merged over the family's defaults and under those of a call; `{"lightgbm":
    {"preset": "accurate"}}`. seed: of every random choice. threads: trainings that are done at once where
    they are known before their turn; each of them is done as it would be alone, to the last bit.
    """

    def __init__(
        self, *, params: Mapping[str, Mapping[str, Any]] | None = None, seed: int = 0, threads: int = 1
    ) -> None:
        self._params = {str(name): dict(values) for name, values in (params or {}).items()}
        self.seed = seed
        self._threads = threads
        #: Whether in processes of their own → who waits for them.
        self._pools: dict[bool, ThreadPoolExecutor] = {}
        self._begun: dict[tuple[str, str], Future[TrainedModel]] = {}
        #: The last bins, by what they were made of: those of the evaluation fit serve its canary. The refit
        #: has more rows and bins of its own; shared, they would tell the evaluation fit of later hours.
        self._bins: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        family = model_family(str(model_type))
        if TARGET not in df.columns:
            raise BadInput("df", list(df.columns)[:5], f"a feature frame with the column {TARGET!r}")
        given = {**self._params.get(str(model_type), {}), **(params or {})}
        if self._begun and not params:
            begun = self._begun.pop(_key(model_type, df), None)
            if begun is not None:
                return begun.result()
        return self._train(family, str(model_type), df, given)

    def _train(
        self, family: ModelFamily, model_type: str, df: pd.DataFrame, given: Mapping[str, Any]
    ) -> TrainedModel:
        df = _inputs(family, df, given)
        known = np.isfinite(df[TARGET].to_numpy(dtype=np.float64))
        rows = df if known.all() else df.loc[known]
        if len(rows) < MIN_ROWS:
            raise InsufficientData(
                f"{model_type}: {len(rows)} rows to train on; at least {MIN_ROWS} are needed "
                "(training_lookback_days, or a larger sample)"
            )
        began = time.monotonic()
        try:
            if not isinstance(family, BinningFamily):
                return self._said(family.train(rows, given, self.seed), rows, began)
            key = _bins_key(model_type, rows, given)
            # Taken out while they are in use: two threads cannot label the same.
            bins = self._bins.pop(key, None)
            if bins is None:
                bins = family.bins(rows, given)
            model = family.train_binned(bins, rows, given, self.seed)
            self._keep(key, bins)
            return self._said(model, rows, began)
        except ClmError:
            raise
        except Exception as exc:
            # Families come from anywhere, and raise anything: one that breaks must not break the others.
            raise TrainingFailed(f"{model_type} broke down: {type(exc).__name__}: {exc}") from exc

    def anticipate(self, model_type: str, frames: Sequence[pd.DataFrame]) -> None:
        """Begins to train those: in processes of their own where the family does so, else in `threads`."""
        family = model_family(str(model_type))
        apart = isinstance(family, PastFamily) and family.apart
        threads = (os.cpu_count() or 1) if apart else self._threads
        if not apart and threads == 1:
            return
        if apart not in self._pools:
            self._pools[apart] = ThreadPoolExecutor(threads, thread_name_prefix="clm-train")
        given = self._params.get(str(model_type), {})
        for frame in frames:
            key = _key(model_type, frame)
            if key not in self._begun:
                work = self._pools[apart].submit(
                    copy_context().run, self._train, family, str(model_type), frame, given
                )
                self._begun[key] = work

    def forget(self) -> None:
        """See `EagerTrainer`."""
        for begun in self._begun.values():
            begun.cancel()
        self._begun.clear()
        self._bins.clear()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._pools.clear()

    def _keep(self, key: str, bins: Any) -> None:
        """As many as are in use at once; those of the longest ago go."""
        with self._lock:
            self._bins[key] = bins
            while len(self._bins) > self._threads:
                del self._bins[next(iter(self._bins))]

    def _said(self, model: TrainedModel, rows: pd.DataFrame, began: float) -> TrainedModel:
        """Into the log; what gave way for want of rows once."""
        adapted = {name: used for name, (used, _) in getattr(model, "adapted", {}).items()}
        if adapted and model.model_type not in self._told:
            self._told.add(model.model_type)
            log.warning("regularisation_adapted", family=model.model_type, rows=len(rows), **adapted)
        seconds = round(time.monotonic() - began, 3)
        log.info("trained", family=model.model_type, rows=len(rows), seconds=seconds)
        return model

    def past(self, model_type: str) -> Mapping[str, int]:
        """Feature → candles of it that a family looks back on, the present one included."""
        family = model_family(str(model_type))
        return family.past(self._params.get(str(model_type), {})) if isinstance(family, PastFamily) else {}

    def train_xgboost(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.XGBOOST, df, params)

    def train_lightgbm(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.LIGHTGBM, df, params)

    def train_nhits(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.NHITS, df, params)

    def train_patchtst(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel:
        return self.train(ModelType.PATCHTST, df, params)


def _key(model_type: str, df: pd.DataFrame) -> tuple[str, str]:
    """Which training it is: the same rows with the same labels."""
    rows = pd.DatetimeIndex(df.index).asi8.tobytes()
    labels = df[TARGET].to_numpy(dtype=np.float64).tobytes() if TARGET in df.columns else b""
    return str(model_type), hashlib.sha256(rows + labels).hexdigest()


def _bins_key(model_type: str, df: pd.DataFrame, given: Mapping[str, Any]) -> str:
    """What bins are made of: the features' names and values, and the parameters."""
    features = df.drop(columns=TARGET)
    digest = hashlib.sha256(repr((model_type, list(features.columns), sorted(given.items()))).encode())
    digest.update(np.ascontiguousarray(features.to_numpy().T).data)
    return digest.hexdigest()


def _inputs(family: ModelFamily, df: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
    """The columns a family trains on; what is past only where it asks for it."""
    if isinstance(family, PastFamily):
        return df[[*family.inputs(feature_columns(df.columns), params), TARGET]]
    names = [name for name in df.columns if not is_past(str(name))]
    return df if len(names) == len(df.columns) else df[names]
