"""Every error CLM raises on purpose.

    ClmError
    ├── TransientError          try again later: nothing is wrong with the request
    │   ├── ExchangeUnavailable     unreachable, timed out, 5xx, garbage after all retries
    │   ├── RateLimited             429 (retry_after) - and 418 as `ExchangeBanned`
    │   └── DatabaseUnavailable · ExecutorUnavailable
    ├── BadInput                the request is wrong: names the field, the value, what is allowed
    │   ├── UnknownModelType · UnknownSymbol · UnknownInterval · InvalidSetting
    ├── BadData                 the data are wrong, not the request
    │   ├── InvalidCandles · InsufficientData · SchemaMismatch
    │   └── ArtifactMissing · ArtifactCorrupt · UnreadableHere
    ├── Conflict                the state of the world forbids it
    │   ├── ChampionChanged · EvidenceMoved · RunInProgress · VersionExists · DatabaseTooNew
    │   ├── DatabaseTooOld · NotEmpty
    │   ├── IllegalTransition · NotCertified · LeaseLost
    │   ├── SlotTaken · KeyExists
    │   ├── NotExplainable · NotReproducible
    │   ├── ExperimentOpen · ExperimentOver · VersionUnfit
    │   └── LastSeries · ReplayUnreadable
    ├── NotFound                VersionNotFound · RunNotFound · DecisionNotFound · KeyNotFound
    │                           ExperimentNotFound · ReplayNotFound · DatabaseMissing
    ├── AccessDenied            who asks has no role that covers it
    └── PermanentError          will not work until somebody mends something
        ├── ExchangeRejected        the exchange refused the request for another reason
        ├── TrainingFailed · TaskEnded
        ├── NotInstalled            an optional package is asked for and not there
        └── StorageFailed           disk full, folder not writable

Adapters map their vendor's errors to these (`raise … from exc`); the API maps these to HTTP in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ClmError(Exception):
    """Root of the tree. `str(error)` is a sentence fit to be shown to a user."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come from other processes too, whatever their constructors want.
        return _again, (type(self), str(self), self.__dict__)


def _again(kind: type[ClmError], message: str, said: dict[str, Any]) -> ClmError:
    error = kind.__new__(kind, message)
    error.__dict__.update(said)
    return error


class TransientError(ClmError):
    """The same call may succeed later."""


class ExchangeUnavailable(TransientError):
    """The exchange did not give a usable answer, after all retries."""


class RateLimited(TransientError):
    """The exchange asks us to slow down.

    retry_after: seconds to wait, as the exchange asked; None where it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ExchangeBanned(RateLimited):
    """HTTP 418: the exchange banned this address; going on would lengthen the ban."""


class DatabaseUnavailable(TransientError):
    """The database did not answer. silent: it was waited for in vain; else it said why, or was not there."""

    silent = False


class ExecutorUnavailable(TransientError):
    """The cluster that is to do a run does not answer."""


class BadInput(ClmError, ValueError):
    """The caller asked for something impossible.

    field, value: what was wrong; allowed: what would have been right, in words.
    """

    def __init__(self, field: str, value: object, allowed: str, *, message: str | None = None) -> None:
        super().__init__(message or f"{field}: {value!r} is not allowed; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class InvalidSetting(BadInput):
    """A setting or constructor argument out of its range."""


class UnknownModelType(BadInput):
    """No trainer is registered under this name."""

    def __init__(self, model_type: str, valid: Iterable[str], *, hint: str = "") -> None:
        names = ", ".join(sorted(valid))
        super().__init__(
            "model_type",
            model_type,
            names,
            message=f"model_type: {model_type!r} is not known here{hint}; valid model types: {names}",
        )


class UnknownSymbol(BadInput):
    """The exchange does not list this symbol."""


class UnknownInterval(BadInput):
    """Not an interval CLM works with."""


class BadData(ClmError):
    """The data contradict what the caller was promised."""


class InvalidCandles(BadData):
    """Candles break the rules of a candle frame; `rows` names the offenders, one line each."""

    def __init__(self, message: str, rows: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.rows = rows


class InsufficientData(BadData):
    """Fewer candles than the work at hand needs."""


class SchemaMismatch(BadData):
    """A frame does not carry exactly the features a model was trained on."""


class ArtifactMissing(BadData):
    """The file of a registered version is not there."""


class ArtifactCorrupt(BadData):
    """The file of a registered version is not the one that was registered, or cannot be read."""


class UnreadableHere(BadData):
    """A sound version that this process cannot use: it lacks something, or reads the file otherwise.

    Nothing is wrong with the version: another process may well use it.
    """


class Conflict(ClmError):
    """The request is sound but the present state forbids it."""


class ChampionChanged(Conflict):
    """Another promotion came first: the champion compared against is no longer the champion."""


class EvidenceMoved(Conflict):
    """Another process bet on these candles first; nothing was stored twice."""


class NotCertified(Conflict):
    """The version has no leakage certificate, so it is not promoted."""


class RunInProgress(Conflict):
    """One run at a time; `run_id` is the one under way, `at` what it is at."""

    def __init__(self, run_id: str, kind: str = "retrain", at: str = "") -> None:
        what = "retraining" if kind == "retrain" else kind
        super().__init__(f"a {what} run is already in progress: {run_id}{at and f' ({at})'}")
        self.run_id = run_id


class SlotTaken(Conflict):
    """Another process has done, or is doing, what this slot of a schedule is for."""


class LeaseLost(Conflict):
    """The run was given to another process, or ended by somebody: this process may not write any more."""


class VersionExists(Conflict):
    """The version is registered already."""


class KeyExists(Conflict):
    """A key of this name exists, or existed: the audit trail names it."""


class ExperimentOpen(Conflict):
    """One experiment at a time per series and model type; `experiment_id` is the one that is open."""

    def __init__(self, experiment_id: str, of: str) -> None:
        super().__init__(f"an experiment of {of} is open already: {experiment_id}")
        self.experiment_id = experiment_id


class ExperimentOver(Conflict):
    """The experiment has ended: there is nothing to stop."""


class VersionUnfit(Conflict):
    """The version cannot forecast: its file, or the features it needs, are not there."""


class LastSeries(Conflict):
    """At least one series is watched."""


class ReplayUnreadable(Conflict):
    """The report of a replay is damaged, or not written yet."""


class IllegalTransition(Conflict):
    """The version's status does not allow this step."""


class DatabaseTooNew(Conflict):
    """The database was written by a newer CLM."""


class DatabaseTooOld(Conflict):
    """The database was written by an older CLM, and is not to be changed by the way."""


class NotEmpty(Conflict):
    """What is to be filled holds something already."""


class NotExplainable(Conflict):
    """The model, or the version, cannot say what its forecasts are made of."""


class NotReproducible(Conflict):
    """Of this version nothing is stored that it could be made from again."""


class NotFound(ClmError, LookupError):
    """There is no such thing."""


class VersionNotFound(NotFound):
    """No such version of this model type and series."""


class DecisionNotFound(NotFound):
    """No decision has this id."""


class RunNotFound(NotFound):
    """No run has this id."""


class ExperimentNotFound(NotFound):
    """No experiment has this id."""


class ReplayNotFound(NotFound):
    """No replay has this name."""


class KeyNotFound(NotFound):
    """No key in force has this name."""


class DatabaseMissing(NotFound):
    """Nothing has been begun where a database should be."""


class AccessDenied(ClmError):
    """Who asks may not do this. known: they showed a valid key, whose role does not cover it."""

    def __init__(self, message: str, needed: str, *, known: bool) -> None:
        super().__init__(message)
        self.needed = needed
        self.known = known


class PermanentError(ClmError):
    """Will not work until somebody changes something."""


class ExchangeRejected(PermanentError):
    """The exchange refused the request. `code` is Binance's own error code."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class TrainingFailed(PermanentError):
    """A training ended without a model."""


class TaskEnded(PermanentError):
    """The process that did a part of a run ended before the part did, or was ended for a limit."""


class NotInstalled(PermanentError):
    """What was asked for needs a package that is not installed here; the sentence says which."""


class StorageFailed(PermanentError):
    """A file could not be written or read: disk full, folder missing or not writable."""
