"""What of a run is done already, so that a run taken up again does not do it twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from clm.core.domain import Progress, Series
from clm.core.errors import TrainingFailed
from clm.core.runs import Run
from clm.core.stores import RunStore
from clm.core.wire import report_of_today

#: A model that was being trained when its worker died, this often, is not tried a further time in this run.
MAX_BEGUN = 2


class Journal(Protocol):
    """Of one run, whichever attempt writes it.

    run_id: of the run, None for a cycle that is none. earlier: reports of what attempts before this one have
    finished, JSON-ready.
    """

    @property
    def run_id(self) -> str | None: ...

    @property
    def earlier(self) -> Sequence[Mapping[str, Any]]: ...

    def finished(self, series: Series, model_type: str) -> bool:
        """Whether an earlier attempt of the run has brought this model to its decision, or seen it fail."""
        ...

    def begin(self, series: Series, model_type: str) -> None:
        """Raises TrainingFailed for a model whose training ended its worker again and again."""
        ...

    def end(self, series: Series, model_type: str, report: Mapping[str, Any]) -> None:
        """The model is done; `report` is its part of the run's, JSON-ready."""
        ...


class NoJournal:
    """For a cycle that is no run: nothing was done before, nothing is remembered."""

    run_id: str | None = None
    earlier: Sequence[Mapping[str, Any]] = ()

    def finished(self, series: Series, model_type: str) -> bool:
        return False

    def begin(self, series: Series, model_type: str) -> None:
        pass

    def end(self, series: Series, model_type: str, report: Mapping[str, Any]) -> None:
        pass


class RunJournal:
    """Kept in the run's row, under its fence."""

    def __init__(self, store: RunStore, run: Run) -> None:
        self._store, self._fence = store, run.fence
        self.run_id: str | None = run.run_id
        self._entries = {key: dict(entry) for key, entry in store.journal(run.run_id).items()}
        self.earlier: Sequence[Mapping[str, Any]] = tuple(
            report_of_today(e["report"], run) for e in self._entries.values() if e.get("report") is not None
        )

    def finished(self, series: Series, model_type: str) -> bool:
        return self._entry(series, model_type).get("report") is not None

    def begin(self, series: Series, model_type: str) -> None:
        entry = self._entry(series, model_type)
        begun = int(entry.get("begun", 0))
        if begun >= MAX_BEGUN:
            raise TrainingFailed(
                f"{model_type} of {series} was being trained {begun} times when the worker died; "
                "this run goes on without it"
            )
        self._write(series, model_type, {**entry, "begun": begun + 1})

    def end(self, series: Series, model_type: str, report: Mapping[str, Any]) -> None:
        self._write(series, model_type, {**self._entry(series, model_type), "report": report})

    def doing(self, progress: Progress) -> None:
        """Where a series' cycle stands, for who looks at the run while it is done in another process."""
        at = {"step": progress.step, "message": progress.message, "model_type": progress.model_type}
        self._store.note(self._fence, str(progress.series), {**at, "attempt": self._fence.attempt})

    def _entry(self, series: Series, model_type: str) -> dict[str, Any]:
        return self._entries.get(f"{series} {model_type}", {})

    def _write(self, series: Series, model_type: str, entry: dict[str, Any]) -> None:
        self._store.note(self._fence, f"{series} {model_type}", entry)
        self._entries[f"{series} {model_type}"] = entry
