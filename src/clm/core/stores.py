"""The stores behind the registry: the evidence book, experiments, runs as rows. All structural."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from clm.core.book import Appended, EvidenceRow, Forecast, LedgerKey, Revision, Source, Trial
from clm.core.domain import Series
from clm.core.evidence import Evidence
from clm.core.experiments import Experiment
from clm.core.pooled_bets import Stood
from clm.core.runs import Fence, Run, RunKind, RunRequest, RunState

if TYPE_CHECKING:
    # It scores, with models: whose protocols name these stores.
    from clm.core.paired import Paired


@runtime_checkable
class EvidenceBook(Protocol):
    """Forecasts, bets and attempts of one series. Nothing in it is ever overwritten or taken out."""

    def record_forecasts(self, forecasts: Sequence[Forecast]) -> int:
        """Store those whose version has none yet for that candle; how many were new. One transaction."""
        ...

    def forecasts(
        self,
        model_type: str,
        version: str,
        *,
        since: datetime | None = None,
        sources: Collection[Source] | None = None,
    ) -> list[Forecast]:
        """A version's forecasts of candles opened at or after `since`, oldest first; of those sources."""
        ...

    def paired(self, model_type: str, champion: str, challenger: str, since: datetime) -> Paired:
        """The candles opened at or after `since` that both versions forecast, as `Paired.of` has them."""
        ...

    def newest_forecast(self, model_type: str, version: str) -> datetime | None:
        """The last candle a version has forecast; None before its first."""
        ...

    def count_forecasts(self, model_type: str, version: str, after: datetime, until: datetime) -> int:
        """Candles it has forecast that opened later than `after`, `until` at the latest."""
        ...

    def forecast_times(self, model_type: str, version: str, since: datetime) -> list[datetime]:
        """The candles opened at or after `since` that a version has forecast, oldest first."""
        ...

    def score(self, model_type: str, outcomes: Mapping[datetime, float], at: datetime) -> tuple[int, int]:
        """Fill in what happened, once; answers (scored now, found revised now).

        outcomes: open time → log return. Where an outcome differs from the one scored before, the score
        stands and the difference is kept as a revision. Of those older than the newest seven days only what
        was never scored is looked at.
        """
        ...

    def append_evidence(self, key: LedgerKey, rows: Sequence[EvidenceRow], after: datetime | None) -> None:
        """Append bets of one ledger whose newest bet is on the candle `after` (None: no bet yet).

        One transaction. Raises EvidenceMoved where the ledger has gone on meanwhile; then nothing is stored.
        """
        ...

    def append_together(self, ledgers: Sequence[Appended]) -> None:
        """As `append_evidence`, for ledgers that keep step: all of them go on, or none does."""
        ...

    def append_joining(
        self,
        key: LedgerKey,
        rows: Callable[[Mapping[datetime, Stood]], Sequence[EvidenceRow]],
        since: datetime,
        after: datetime | None,
    ) -> None:
        """As `append_evidence`, for a series that joins what others have bet with its recipe.

        rows: from candle → the newest pool on it, of candles since `since`, series of this one's interval
        and whatever reign; called while nobody else joins, so that none is left out.
        """
        ...

    def evidence(self, key: LedgerKey, *, until: datetime | None = None) -> list[EvidenceRow]:
        """The bets of one ledger on candles opened at or before `until`, oldest first."""
        ...

    def newest_evidence(self, key: LedgerKey) -> Evidence | None:
        """Where one ledger stands; None before its first bet."""
        ...

    def closing_evidence(
        self, model_type: str, champion_version: str, recipe_id: str, before: datetime
    ) -> Evidence | None:
        """Where a recipe's challenge of a champion ended, in its latest reign begun before `before`."""
        ...

    def ledgers(self, model_type: str, champion_version: str, reign: datetime) -> list[LedgerKey]:
        """Ledgers of one reign, in the order they were begun."""
        ...

    def record_trial(self, trial: Trial) -> None:
        """Append an attempt."""
        ...

    def trials(self, model_type: str | None = None, limit: int = 20) -> list[Trial]:
        """Attempts, newest first."""
        ...

    def revisions(self) -> int:
        """How many scored candles the exchange revised afterwards."""
        ...

    def revised(self, since: datetime, limit: int) -> list[Revision]:
        """Those of them opened at or after `since`, newest first, at most `limit`."""
        ...


@runtime_checkable
class ExperimentStore(Protocol):
    """Experiments of all series, and who was assigned what. One at most is open per series and model type."""

    def create(self, experiment: Experiment) -> Experiment:
        """Raises ExperimentOpen, naming the one that is."""
        ...

    def get(self, experiment_id: str) -> Experiment:
        """Raises ExperimentNotFound."""
        ...

    def open(self, series: Series | None = None) -> list[Experiment]:
        """Those that have not ended, also before their start and after their time; oldest first."""
        ...

    def recent(
        self, limit: int = 20, series: Series | None = None, model_type: str | None = None
    ) -> list[Experiment]:
        """Newest first."""
        ...

    def end(self, experiment_id: str, at: datetime, result: Mapping[str, Any]) -> bool:
        """Ended once and for all with `result` and, as `callers`, how many each arm had; False: it had ended.

        From then on nobody is assigned to it. Raises ExperimentNotFound.
        """
        ...

    def assign(self, experiment: Experiment, caller: str, version: str, at: datetime) -> str | None:
        """The version a caller has in an experiment, `version` if none so far; None: it has ended."""
        ...

    def callers(self, experiment: Experiment) -> dict[str, int]:
        """How many callers each arm has."""
        ...


@runtime_checkable
class RunStore(Protocol):
    """Runs as rows. At most one of a kind is queued or running at any moment, also between processes.

    A worker that has begun a run holds its `Fence`; whoever interrupts, cancels or requeues the run takes it
    away, and from then on nothing is written in the run's name by that worker.
    """

    def create(self, request: RunRequest) -> Run:
        """A new QUEUED run. Raises RunInProgress, naming the one under way; SlotTaken."""
        ...

    def start(self, run_id: str, owner: str) -> Run:
        """QUEUED → RUNNING under `owner`, one attempt more. Raises RunNotFound, IllegalTransition."""
        ...

    def claim(self, request: RunRequest, owner: str, stale_after_seconds: float) -> Run:
        """A RUNNING run for the request's slot, begun here, or taken over from who failed or fell silent.

        Raises SlotTaken (done already), RunInProgress (somebody alive is at it, or at another of this kind).
        """
        ...

    def beat(self, fence: Fence, progress: Mapping[str, Any] | None = None) -> None:
        """Sign of life; stores `progress` where given. Raises LeaseLost, RunNotFound."""
        ...

    def note(self, fence: Fence, entry: str, value: Mapping[str, Any]) -> None:
        """Write an entry of the run's journal, which outlives the attempt. Raises LeaseLost, RunNotFound."""
        ...

    def journal(self, run_id: str) -> Mapping[str, Mapping[str, Any]]:
        """Entries of all attempts."""
        ...

    def finish(
        self,
        run_id: str,
        state: RunState,
        *,
        report: Mapping[str, Any] | None = None,
        error: str | None = None,
        fence: Fence | None = None,
    ) -> Run:
        """End a run that is not over as COMPLETED, FAILED or CANCELLED.

        fence: only as long as it holds. Raises RunNotFound, IllegalTransition, LeaseLost.
        """
        ...

    def interrupt(self, run_id: str, reason: str, *, planned: bool = False) -> Run:
        """Its worker is gone: → INTERRUPTED, the attempt kept on record. Raises as `finish`.

        planned: somebody stopped the service, which nobody needs to be told of.
        """
        ...

    def requeue(self, run_id: str) -> Run:
        """INTERRUPTED or FAILED → QUEUED, to be begun again. Raises RunInProgress, IllegalTransition."""
        ...

    def get(self, run_id: str) -> Run:
        """Raises RunNotFound."""
        ...

    def latest(self, kind: RunKind = RunKind.RETRAIN) -> Run | None:
        """The newest run of that kind, None before the first."""
        ...

    def recent(self, limit: int = 20, kind: RunKind = RunKind.RETRAIN) -> list[Run]:
        """Newest first."""
        ...

    def newest_slot(self, kind: RunKind) -> datetime | None:
        """The latest slot any run was made for; None before the first."""
        ...

    def silent(self, older_than_seconds: float, kind: RunKind | None = None) -> list[str]:
        """Ids of runs not over that gave no sign of life for so long; changes nothing."""
        ...

    def interrupt_stale(self, older_than_seconds: float, kind: RunKind | None = None) -> list[Run]:
        """Mark as INTERRUPTED every run not over whose last sign of life (or creation) is older."""
        ...

    def forget(self, kind: RunKind, keep: int) -> int:
        """Delete runs of that kind that are over, but for the newest `keep`; how many went."""
        ...
