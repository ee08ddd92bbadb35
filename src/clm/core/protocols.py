"""The six parts CLM is made of, and the small seams between them. All structural: implement and plug in.

Shared promises: frames are pandas, indexed by `open_time` (UTC, strictly increasing); nothing may look at a
candle that had not closed at the moment it speaks about; failures raise errors of `clm.core.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from clm.core.domain import (
    Comparison,
    Decision,
    EvaluationResult,
    FeatureRow,
    FloatArray,
    FloatMatrix,
    ModelArtifact,
    Progress,
    Series,
    ShadowTestResult,
    VersionStatus,
)
from clm.core.stores import EvidenceBook

ProgressListener = Callable[[Progress], None]


@runtime_checkable
class DataClient(Protocol):
    """Closed candles of one series, and the exchange's clock.

    A candle frame has float64 `open high low close volume quote_volume taker_buy_base` and int64 `trades`.
    Gaps stay gaps. Raises ExchangeUnavailable, RateLimited, UnknownSymbol, InvalidCandles.
    """

    @property
    def series(self) -> Series: ...

    def load_training_data(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Candles with start <= open_time and close <= min(end, now), oldest first; empty when none."""
        ...

    def load_recent_data(self, days: float) -> pd.DataFrame:
        """Candles of the last `days` days, up to the newest closed one."""
        ...

    def load_validation_data(self, days: float) -> pd.DataFrame:
        """The same window as `load_recent_data`, kept apart for readers of the guide."""
        ...

    def server_time(self) -> datetime:
        """The exchange's present moment: the only `now` of the cycle."""
        ...


@runtime_checkable
class FeatureEngineer(Protocol):
    """Turns candles into causal features.

    Row t depends on candles <= t only, and equally whether or not later candles exist, and with `warmup`
    candles of history as with all of it.
    """

    @property
    def warmup(self) -> int:
        """Candles of history needed before the first row."""
        ...

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        """float32 feature columns and the float64 column `target` (log return of the next candle).

        Rows without full history (start of the frame, after a gap) are left out; `target` is NaN where the
        next candle is missing or has not closed. Raises InvalidCandles, InsufficientData.
        """
        ...

    def get_feature_names(self) -> list[str]:
        """Feature columns in order, without `target`."""
        ...


@runtime_checkable
class RowEngineer(FeatureEngineer, Protocol):
    """A feature engineer that has a quick way to the newest row. Optional: `transform` is enough."""

    def newest(self, df: pd.DataFrame) -> FeatureRow:
        """The last row of `transform` within 1e-6, without `target`, from the end of `df` alone.

        Raises InvalidCandles; InsufficientData where the last `warmup` + 1 candles are not there, or have a
        gap.
        """
        ...


@runtime_checkable
class CatalogueEngineer(FeatureEngineer, Protocol):
    """A feature engineer that knows features it does not compute as it is set. Optional."""

    def why_not(self, names: Collection[str]) -> str | None:
        """What these features, not all of them computed, are lacking for, such as `CLM_FEATURES=basic`.

        None where some of them are computed under no setting at all.
        """
        ...


@runtime_checkable
class FormerEngineer(FeatureEngineer, Protocol):
    """A feature engineer that knows features no new model is given, for those that read them. Optional."""

    @property
    def former(self) -> Collection[str]:
        """Their names: none of `get_feature_names`."""
        ...

    def of_former(self, names: Sequence[str]) -> FeatureEngineer:
        """What computes exactly these, in this order, at least wherever this one computes its own."""
        ...


@runtime_checkable
class TrainedModel(Protocol):
    """A fitted model. `predict` wants exactly its features and raises SchemaMismatch otherwise."""

    @property
    def model_type(self) -> str: ...
    @property
    def feature_names(self) -> tuple[str, ...]: ...
    @property
    def params(self) -> Mapping[str, Any]:
        """Every hyper-parameter that made it, defaults included, and its `seed`."""
        ...

    @property
    def suffix(self) -> str:
        """File ending of its own safe format, with the dot."""
        ...

    def predict(self, df: pd.DataFrame) -> FloatArray:
        """Forecast log returns, one per row of `df`; a `target` column is ignored."""
        ...

    def to_bytes(self) -> bytes:
        """The library's own safe format, never a pickle; equal models give equal bytes."""
        ...


@runtime_checkable
class RowModel(TrainedModel, Protocol):
    """A trained model that has a quick way to one forecast. Optional: `predict` is enough."""

    def predict_row(self, row: FeatureRow) -> float:
        """The forecast of one candle within float32 rounding of `predict`; `row` as `feature_names`.

        Raises SchemaMismatch for another length or a value that is not finite.
        """
        ...


@runtime_checkable
class ExplainedModel(TrainedModel, Protocol):
    """A trained model that says what its forecasts are made of. Optional: families may do without it.

    By the method that suits it: TreeSHAP for trees, integrated gradients for networks.
    """

    def contributions(self, df: pd.DataFrame) -> tuple[FloatArray, FloatMatrix]:
        """(base, parts) in log return, of shapes (rows,) and (rows, features), columns as `feature_names`.

        A row's base and parts add up to what `predict` answers for it, within 1e-6 of that; a method that
        leaves something over puts it into the base. Rows are independent. Raises as `predict`.
        """
        ...


@runtime_checkable
class TreeModel(TrainedModel, Protocol):
    """A trained model made of splits. Optional, like `ExplainedModel`."""

    def gains(self) -> FloatArray:
        """Share of the training loss's reduction that each feature's splits brought; columns as above."""
        ...


@runtime_checkable
class ModelFamily(Protocol):
    """One way to make models; registered by an entry point in the group `clm.trainers` under its name."""

    def train(self, df: pd.DataFrame, params: Mapping[str, Any], seed: int) -> TrainedModel:
        """Fit on a feature frame whose targets are all known. Same frame, params and seed: same bytes.

        Raises BadInput for an unknown parameter, TrainingFailed when no model comes out.
        """
        ...

    def from_bytes(self, raw: bytes) -> TrainedModel:
        """The inverse of `TrainedModel.to_bytes`. Raises ArtifactCorrupt."""
        ...

    def library_versions(self) -> Mapping[str, str]:
        """Versions of the libraries that shape the result."""
        ...


@runtime_checkable
class PastFamily(ModelFamily, Protocol):
    """A family that looks back over a window of its own. Optional: families may do with the features.

    What a feature was k candles ago is a column like any other (`clm.core.domain.past_name`), so that rows
    stay independent of each other, and a gap in the window leaves no row.
    """

    def past(self, params: Mapping[str, Any]) -> Mapping[str, int]:
        """Feature → candles of it, the present one included. Raises BadInput for an unknown parameter."""
        ...

    @property
    def apart(self) -> bool:
        """Whether it trains in a process of its own, so that several trainings can go on at once."""
        ...

    def inputs(self, columns: Sequence[str], params: Mapping[str, Any]) -> list[str]:
        """Those of `columns` it trains on, in their order. Raises SchemaMismatch where one is missing."""
        ...


@runtime_checkable
class PreparedRegistry(Protocol):
    """A registry that can tell, before anything is trained, whether it could keep a model. Optional."""

    def prepare(self) -> None:
        """Raises StorageFailed where a model could not be stored: then an hour of training is saved."""
        ...


@runtime_checkable
class CheckingFamily(ModelFamily, Protocol):
    """A family that knows its parameters without training. Optional: others refuse when they train."""

    def check(self, params: Mapping[str, Any]) -> None:
        """Raises BadInput for a parameter or preset that there is not, or a value out of its range."""
        ...


@runtime_checkable
class BinningFamily(ModelFamily, Protocol):
    """A family that sorts the rows' features into bins before it looks at their labels. Optional.

    Rows that are trained on twice, the second time with shuffled labels, are then sorted once.
    """

    def bins(self, df: pd.DataFrame, params: Mapping[str, Any]) -> Any:
        """What `train_binned` begins with, whatever the labels: of features and parameters alone.

        Raises as `train`.
        """
        ...

    def train_binned(self, bins: Any, df: pd.DataFrame, params: Mapping[str, Any], seed: int) -> TrainedModel:
        """As `train`, to the last bit; `bins`: of the same features and parameters."""
        ...


@runtime_checkable
class Training(Protocol):
    """Trains by model type."""

    def train(
        self, model_type: str, df: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        """A model of `model_type` fitted on a feature frame; rows without target are left out.

        Raises UnknownModelType, BadInput, InsufficientData, TrainingFailed.
        """
        ...


@runtime_checkable
class ModelTrainer(Training, Protocol):
    """The short forms are the same call with the type filled in."""

    def train_xgboost(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel: ...
    def train_lightgbm(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel: ...
    def train_nhits(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel: ...
    def train_patchtst(self, df: pd.DataFrame, params: Mapping[str, Any] | None = None) -> TrainedModel: ...


@runtime_checkable
class EagerTrainer(ModelTrainer, Protocol):
    """A trainer that can begin before it is asked to, and knows what features it looks back on. Optional."""

    def past(self, model_type: str) -> Mapping[str, int]:
        """Feature → candles of it that the family looks back on; empty for one that does not."""
        ...

    def anticipate(self, model_type: str, frames: Sequence[pd.DataFrame]) -> None:
        """`train` will be asked for these, and may begin now what can be done side by side."""
        ...

    def forget(self) -> None:
        """What was begun and not asked for is not wanted any more."""
        ...


@runtime_checkable
class PastEngineer(FeatureEngineer, Protocol):
    """A feature engineer that can also tell what features were some candles ago. Optional."""

    def look_back_on(self, past: Mapping[str, int]) -> None:
        """From now on; see `clm.core.domain.past_name`. Raises BadInput for a feature it does not compute."""
        ...


@runtime_checkable
class ModelEvaluator(Protocol):
    """Judges forecasts on hours nobody trained on."""

    def evaluate(
        self, model: TrainedModel, df: pd.DataFrame, model_type: str, *, role: str = "candidate"
    ) -> EvaluationResult:
        """Score every row of `df` with a known target. `df`: candles, or a feature frame (has `target`).

        Raises InsufficientData when no row can be scored.
        """
        ...

    def compare_to_active(
        self, candidate_result: EvaluationResult, active_result: EvaluationResult
    ) -> Comparison:
        """Both on the hours they have in common, nothing else. No common hour: all figures None."""
        ...


@runtime_checkable
class ShadowTester(Protocol):
    """Lets a candidate forecast beside the champion without consequences."""

    def run_shadow_test(
        self,
        model_type: str,
        candidate_model: TrainedModel,
        active_model: TrainedModel | None,
        hours: float = 24,
        *,
        features: pd.DataFrame | None = None,
    ) -> ShadowTestResult:
        """Replay the last `hours`; `features` saves computing them again. Raises InsufficientData."""
        ...


@runtime_checkable
class ModelRegistry(Protocol):
    """Versions, their files and which of them is champion. Bound to one series by `for_series`.

    At every moment at most one version per model type and series is ACTIVE. Each method that changes
    something is one transaction: after an error nothing has changed.
    """

    @property
    def series(self) -> Series:
        """The series it speaks of."""
        ...

    def for_series(self, series: Series) -> ModelRegistry:
        """The same store, speaking of `series`."""
        ...

    def get_active(self, model_type: str) -> ModelArtifact | None:
        """The champion's row (its `model` not loaded), None when there is none."""
        ...

    def load_model(self, artifact: ModelArtifact) -> TrainedModel:
        """The model of a registered version, which answers as it did when it was made.

        Raises ArtifactMissing, ArtifactCorrupt; UnreadableHere where that holds, but not in this process.
        """
        ...

    def save_model(self, artifact: ModelArtifact) -> ModelArtifact:
        """Store `artifact.model` and its row as CANDIDATE; answers the row as stored.

        The version gets a suffix where it is taken. Raises StorageFailed; then neither file nor row exists.
        """
        ...

    def promote(
        self,
        model_type: str,
        version: str,
        *,
        expected_active: str | None = None,
        check_expected: bool = False,
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        """Retire the champion, activate `version`, write the decision: one transaction.

        check_expected: raise ChampionChanged unless the champion is `expected_active` (None: no champion).
        Promoting the champion again changes nothing. The file is verified first: raises VersionNotFound,
        ArtifactMissing, ArtifactCorrupt.
        """
        ...

    def retire(
        self,
        model_type: str,
        version: str,
        *,
        reason: str = "",
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        """Take a version out of service; `decision` says why where no human did, who gives a `reason`.

        Retiring a retired version changes nothing.
        """
        ...

    def rollback(
        self,
        model_type: str,
        *,
        reason: str = "",
        expected_active: str | None = None,
        decision: Decision | None = None,
        at: datetime | None = None,
    ) -> ModelArtifact:
        """Retire the champion and bring back the version it replaced: one transaction.

        decision: what to write instead of "by hand"; its candidate is the version that comes back.
        Raises VersionNotFound if there is none, ChampionChanged unless the champion is `expected_active`
        (None: any).
        """
        ...

    def quarantine(self, model_type: str, version: str, reason: str) -> ModelArtifact:
        """Set a version aside whose file is missing or altered: from now on it does not load.

        Its status stays: who reigns is for others to decide. Quarantining it again changes nothing.
        """
        ...

    def get_model_history(self, model_type: str, limit: int = 10) -> list[ModelArtifact]:
        """Versions, newest first; empty when none."""
        ...

    def record_decision(self, decision: Decision, status: VersionStatus | None = None) -> bool:
        """Append a decision that promoted nobody; `status` is what becomes of the candidate with it.

        One transaction. False, and nothing appended, where the candidate has that status already, or is
        ACTIVE or RETIRED, or (status None) the same was decided at the same moment: somebody else was first.
        """
        ...

    @property
    def book(self) -> EvidenceBook:
        """Forecasts, evidence and trials of the same series, in the same store."""
        ...

    def get_decisions(
        self,
        model_type: str | None = None,
        limit: int = 20,
        *,
        label: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[Decision]:
        """Decisions, newest first; with that label, and decided at or after `since`, where given."""
        ...

    def get_rise(self, model_type: str, version: str, at: datetime) -> Decision | None:
        """The decision that promoted a version at that moment; None where there is none."""
        ...

    def get_version(self, model_type: str, version: str) -> ModelArtifact:
        """One version's row. Raises VersionNotFound."""
        ...

    def challengers(self, model_type: str) -> list[ModelArtifact]:
        """Versions in SHADOW, oldest first."""
        ...


class Clock(Protocol):
    """Seconds that only go forward, for durations; injected so that tests need not wait."""

    def __call__(self) -> float: ...


@runtime_checkable
class AnsweringRegistry(ModelRegistry, Protocol):
    """A registry that keeps what versions answered when they were made, see `clm.core.answers`. Optional."""

    def keep_answer(self, model_type: str, version: str, known: Mapping[str, Any]) -> None:
        """Of a version that was stored without one; the first stands."""
        ...
