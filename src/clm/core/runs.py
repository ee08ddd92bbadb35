"""Runs as records: what somebody or a schedule asked for, who does it, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """QUEUED → RUNNING → one of the four ends; INTERRUPTED may be queued again."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def over(self) -> bool:
        """Nothing more will happen to a run in this state by itself."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


class RunKind(StrEnum):
    """RETRAIN: a cycle. SHADOW: one tick of the live shadow. RETENTION: old files are put away.
    REPRODUCE: a version is made once more.
    """

    RETRAIN = "retrain"
    SHADOW = "shadow"
    RETENTION = "retention"
    REPRODUCE = "reproduce"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What is to be done. models, symbols, intervals None: all there are.

    requested_by: rest, schedule, cli, search, python. slot: the exchange's moment a schedule asked for it,
    which is done once; None: asked for by hand. params: hyper-parameters per family over the configured ones,
    for this run; None: as configured. version: what is to be made once more.
    """

    models: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    intervals: tuple[str, ...] | None = None
    force: bool = False
    requested_by: str = "python"
    kind: RunKind = RunKind.RETRAIN
    slot: datetime | None = None
    params: Mapping[str, Mapping[str, Any]] | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to write in a run's name: lost for good once the run is no longer running at this attempt."""

    run_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as stored. Times are the database's: a run is a matter of machines, not of the exchange.

    attempt: how many workers have begun it. interruptions: how earlier attempts ended: attempt, owner, at,
    reason. progress: JSON of the last `Progress`; report: JSON as `GET /status` shows it; error: a sentence.
    """

    run_id: str
    state: RunState
    request: RunRequest
    created_at: datetime
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    owner: str = ""
    attempt: int = 0
    interruptions: Sequence[Mapping[str, Any]] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def fence(self) -> Fence:
        """The right of whoever works on it at the present attempt."""
        return Fence(self.run_id, self.attempt)
