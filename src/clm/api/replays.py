"""Reports of `clm replay` over HTTP: what is in CLM_REPLAY_DIR, read with its schema."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from clm.api import schemas
from clm.api.application import application
from clm.api.parameters import NAME
from clm.api.route import ProblemRoute, documented_problem
from clm.bootstrap import Application
from clm.core.errors import ReplayNotFound, ReplayUnreadable, StorageFailed
from clm.core.wire import iso

router = APIRouter(route_class=ProblemRoute)
App = Annotated[Application, Depends(application)]

_REPORT, _STATE = "report.json", "state.json"
#: A report of ten years, four policies and thirty series has 15 MB.
_MOST_BYTES = 50_000_000
_DAMAGED = {
    "type": "urn:clm:error:replay-unreadable",
    "title": "Conflict",
    "status": 409,
    "detail": "the report of spring is damaged: scores.0.hours: Field required; run the replay again",
}

#: What a report may call something; it ends up in pictures and tables.
Named = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=NAME)]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T[0-9:.]{5,15}(Z|\+00:00)$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class YearView(BaseModel):
    """One calendar year of a policy."""

    model_config = ConfigDict(extra="ignore")
    hours: int = Field(ge=0, examples=[8760])
    r2: Finite | None = Field(examples=[0.0031])
    r2_clipped: Finite | None = Field(examples=[0.0042])
    directional_accuracy: Finite | None = Field(examples=[0.519])


class ScoresView(BaseModel):
    """One policy on one series and model type; every hour out-of-sample for whoever reigned."""

    model_config = ConfigDict(extra="ignore")
    policy: Named = Field(examples=["evidence"])
    symbol: Named = Field(examples=["BTCUSDT"])
    interval: Named = Field(examples=["1h"])
    model_type: Named = Field(examples=["lightgbm"])
    hours: int = Field(ge=0, examples=[17_520])
    loss: Finite = Field(description="squared error over that of forecasting zero", examples=[0.9969])
    r2: Finite = Field(description="1 − loss", examples=[0.0031])
    r2_clipped: Finite = Field(description="the surprise winsorised at 3 σ̂", examples=[0.0042])
    directional_accuracy: Finite | None = Field(examples=[0.519])
    promotions: dict[Named, int] = Field(description="how many, by their label", examples=[{"first": 1}])
    rollbacks: int = Field(examples=[0])
    looked_back: int = Field(description="promotions looked back at", examples=[6])
    harmful: int = Field(
        description="of these, after how many the replaced champion would have been better", examples=[1]
    )
    trained: int = Field(examples=[104])
    failed: int = Field(examples=[0])
    seconds: Finite = Field(description="of training", examples=[140.2])
    mean_age_days: Finite | None = Field(description="null for the ensemble", examples=[61.0])
    by_year: dict[str, YearView]
    curve: list[tuple[Day, Finite, Finite]] = Field(
        description="a day each: date, gain so far over zero, in mean losses of zero; champion's age, days",
        examples=[[["2024-01-01", 0.2, 12.0]]],
    )


class ReplayHead(BaseModel):
    """One replay of the folder."""

    name: str = Field(description="of its folder", examples=["2023-01-01_2025-01-01"])
    state: Literal["ready", "unfinished", "damaged"] = Field(examples=["ready"])
    problem: str | None = Field(description="why there is nothing to show", examples=[None])
    written_at: str | None = Field(description="of the report", examples=["2025-01-02T10:00:00Z"])
    start: str | None = Field(examples=["2023-01-01T00:00:00+00:00"])
    end: str | None = Field(examples=["2025-01-01T00:00:00+00:00"])
    policies: list[str] = Field(examples=[["never", "evidence"]])
    series: list[str] = Field(examples=[["BTCUSDT 1h"]])
    models: list[str] = Field(examples=[["lightgbm"]])


class ReplayView(BaseModel):
    """A report. Fields of a later CLM are left out."""

    model_config = ConfigDict(extra="ignore")
    start: Moment = Field(examples=["2023-01-01T00:00:00+00:00"])
    end: Moment = Field(examples=["2025-01-01T00:00:00+00:00"])
    step_days: Finite = Field(gt=0, examples=[7.0])
    models: list[Named] = Field(examples=[["lightgbm"]])
    pooled: bool = Field(description="all symbols shared their evidence", examples=[False])
    scores: list[ScoresView]
    name: str = Field("", description="of its folder", examples=["2023-01-01_2025-01-01"])


@router.get("/replays", response_model=list[ReplayHead])
def replays(app: App) -> list[ReplayHead]:
    """The replays in CLM_REPLAY_DIR, the newest report first; unfinished and damaged ones say so."""
    found = [head for folder in _folders(app.settings.replay_dir) if (head := _head(folder)) is not None]
    return sorted(found, key=lambda head: (head.written_at or "", head.name), reverse=True)


@router.get(
    "/replays/{name}",
    response_model=ReplayView,
    responses={
        404: documented_problem("no such replay", schemas.NOT_FOUND),
        409: documented_problem("its report is damaged, or not written yet", _DAMAGED),
    },
)
def replay(
    name: Annotated[
        str, InPath(max_length=255, description="as the list has it", examples=["2023-01-01_2025-01-01"])
    ],
    app: App,
) -> ReplayView:
    """One report: what each promotion policy came to on each series, and its course, day by day."""
    # The name is looked up, never made into a path.
    folder = next((one for one in _folders(app.settings.replay_dir) if one.name == name), None)
    head = None if folder is None else _head(folder)
    if folder is None or head is None:
        raise ReplayNotFound(f"there is no replay {name!r} in {app.settings.replay_dir}")
    if head.problem is not None:
        raise ReplayUnreadable(head.problem)
    return _read(folder).model_copy(update={"name": name})


def _folders(where: Path) -> list[Path]:
    try:
        return [one for one in where.iterdir() if one.is_dir() and not one.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise StorageFailed(f"CLM_REPLAY_DIR: {where} cannot be read: {exc.strerror}") from exc


def _head(folder: Path) -> ReplayHead | None:
    """None for a folder that holds no replay."""
    try:
        stat = (folder / _REPORT).stat()
    except FileNotFoundError:
        if not any(folder.glob(f"*/{_STATE}")):
            return None
        problem = (
            f"the replay {folder.name} has not come to its end: call clm replay again as before, it goes on"
        )
        return _without(folder, "unfinished", problem)
    except OSError as exc:
        return _without(folder, "damaged", str(_unreadable(folder, str(exc.strerror))))
    return _known_head(folder, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)
def _known_head(folder: Path, changed: int, size: int) -> ReplayHead:
    """Of the report as it was changed last. changed: nanoseconds; size: bytes."""
    written = iso(datetime.fromtimestamp(changed // 10**9, UTC))
    try:
        report = _read(folder)
    except ReplayUnreadable as error:
        return _without(folder, "damaged", str(error), written)
    return ReplayHead(
        name=folder.name, state="ready", problem=None, written_at=written, start=report.start, end=report.end,
        policies=list(dict.fromkeys(one.policy for one in report.scores)),
        series=list(dict.fromkeys(f"{one.symbol} {one.interval}" for one in report.scores)),
        models=report.models,
    )  # fmt: skip


def _read(folder: Path) -> ReplayView:
    """Raises ReplayUnreadable."""
    file = folder / _REPORT
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise _unreadable(folder, str(exc.strerror)) from exc
    if len(raw) > _MOST_BYTES:
        raise _unreadable(folder, f"it has more than {_MOST_BYTES // 10**6} MB")
    try:
        return ReplayView.model_validate_json(raw)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _unreadable(folder, f"{where}: {first['msg']}" if where else str(first["msg"])) from exc


def _unreadable(folder: Path, why: str) -> ReplayUnreadable:
    return ReplayUnreadable(f"the report of {folder.name} is damaged: {why}; run the replay again")


def _without(
    folder: Path, state: Literal["unfinished", "damaged"], problem: str, written: str | None = None
) -> ReplayHead:
    """Of a replay that has no report to show."""
    return ReplayHead(
        name=folder.name, state=state, problem=problem, written_at=written, start=None, end=None, policies=[],
        series=[], models=[],
    )  # fmt: skip
