"""`clm replay`: the learning policy over history."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clm.cli.output import Json, print_json, print_table, progress_bar, require_within
from clm.cli.service import TIMES, in_utc

if TYPE_CHECKING:
    from concurrent.futures import Future

    from clm.core.domain import Series
    from clm.replay.scores import Scores
    from clm.replay.walk import Task
    from clm.settings import Settings

_POLL_SECONDS = 0.5


def replay(
    start: Annotated[datetime, typer.Option(formats=TIMES, help="First step, UTC.")],
    end: Annotated[datetime, typer.Option(formats=TIMES, help="Where the replay stops, UTC.")],
    candles: Annotated[
        Path | None, typer.Option(help="Folder of candle files; default: from the exchange, as configured.")
    ] = None,
    policies: Annotated[
        str, typer.Option(help="Comma-separated: never, newest, threshold, evidence.")
    ] = "never,newest,threshold,evidence",
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; default: all configured.")] = None,
    models: Annotated[
        str,
        typer.Option("--models", "--model", help="Comma-separated; of several the ensemble is shown too."),
    ] = "lightgbm",
    step_days: Annotated[float, typer.Option(min=0.05, help="Days between retraining slots.")] = 7,
    pool: Annotated[
        bool, typer.Option("--pool", help="All symbols in one group that shares its evidence.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of state and report; a second call goes on there. "
            "Default: in CLM_REPLAY_DIR, called after start and end.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Walks at once.")] = 2,
    as_json: Json = False,
) -> None:
    """Run the whole loop over stored candles with a clock played back, and compare promotion policies."""
    from clm.core.domain import Series
    from clm.core.errors import BadInput
    from clm.replay.report import COLUMNS, table_row, write
    from clm.replay.walk import POLICIES
    from clm.settings import Settings
    from clm.telemetry import set_up_logging

    begin, stop = in_utc(start), in_utc(end)
    if stop <= begin:
        raise BadInput("--end", f"{stop:%Y-%m-%d}", f"after --start ({begin:%Y-%m-%d})")
    require_within("--step-days", step_days, 0.05, 3660)
    wanted = tuple(dict.fromkeys(name.strip() for name in policies.split(",")))
    for name in wanted:
        if name not in POLICIES:
            raise BadInput("--policies", name, ", ".join(POLICIES))
    given: dict[str, Any] = {"symbols": symbols} if symbols else {}
    settings = Settings.load(**given, models=models, retrain_interval_days=min(step_days, 7))
    set_up_logging(**settings.logging())
    series = tuple(Series(symbol, settings.interval) for symbol in settings.symbols)
    folder = (out or settings.replay_dir / f"{begin:%Y-%m-%d}_{stop:%Y-%m-%d}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = _candle_files(settings, series, candles, begin, stop, folder)
    groups = [series] if pool else [(one,) for one in series]
    threads = _threads(processes, len(wanted) * len(groups))
    tasks = [
        replace(_task(name, group, settings, files, (begin, stop, step_days), folder), threads=threads)
        for name in wanted
        for group in groups
    ]
    scores = _run(tasks, processes)
    about = {
        "start": begin.isoformat(), "end": stop.isoformat(), "step_days": step_days,
        "models": list(settings.models),
        "pooled": pool, "settings": settings.masked(),
    }  # fmt: skip
    as_file, as_page = write(scores, about, folder)
    if as_json:
        return print_json({**about, "scores": scores})
    print_table("Replay", COLUMNS, [table_row(one) for one in scores], "Nothing was replayed.")
    typer.echo(f"{as_page}\n{as_file}")
    return None


def _threads(processes: int, walks: int) -> int:
    """What each walk may train at once, so that all cores are at work and none has two things to do."""
    return max(1, (os.cpu_count() or 1) // min(processes, walks))


def _candle_files(
    settings: Settings,
    series: tuple[Series, ...],
    candles: Path | None,
    begin: datetime,
    stop: datetime,
    folder: Path,
) -> dict[Series, Path]:
    """One Parquet file per series: the given ones, or what the exchange has, fetched once."""
    from datetime import timedelta

    from clm.bootstrap import Application
    from clm.core.errors import BadInput, InsufficientData

    if candles is not None:
        files = {one: candles / f"{one.symbol}-{one.interval}.parquet" for one in series}
        for file in files.values():
            if not file.is_file():
                raise BadInput("--candles", str(candles), f"a folder with {file.name}")
        return files
    files = {}
    with Application(settings) as application:
        before = timedelta(days=settings.training_lookback_days + 30)
        for one in series:
            frame = application.data_client(one).load_training_data(begin - before, stop)
            if frame.empty:
                raise InsufficientData(f"{one}: the exchange has no candle before {stop:%Y-%m-%d}")
            files[one] = folder / f"{one.symbol}-{one.interval}.parquet"
            plain = frame.reset_index()
            plain["open_time"] = plain["open_time"].dt.as_unit("ms").astype("int64")
            plain.to_parquet(files[one])
    return files


def _task(
    policy: str,
    group: tuple[Series, ...],
    settings: Settings,
    files: dict[Series, Path],
    span: tuple[datetime, datetime, float],
    folder: Path,
) -> Task:
    from datetime import timedelta

    from clm.replay.walk import NEVER, Task

    name = f"{policy}-{'-'.join(series.symbol for series in group)}"
    own = folder / name
    changes = {
        "symbols": tuple(series.symbol for series in group),
        # What `never` promotes is its first model, and only that.
        "promotion_policy": "newest" if policy == NEVER else policy,
        "db_url": f"sqlite:///{own / 'clm.db'}", "model_dir": own / "models", "data_dir": own / "data",
        "schedule": "off", "log_level": "error", "live_shadow": False,
    }  # fmt: skip
    scratch = settings.model_copy(update=changes)
    return Task(
        policy, group, span[0], span[1], timedelta(days=span[2]), scratch.for_children(),
        tuple(files[series] for series in group), own,
    )  # fmt: skip


def _run(tasks: list[Task], processes: int) -> list[Scores]:
    """Every task, several at a time, with a bar over all steps. Ctrl-C leaves them where they are."""
    from concurrent.futures import wait

    from clm.core.domain import Progress
    from clm.jobs.guard import Limits
    from clm.jobs.pool import LocalPool
    from clm.replay.walk import steps_done, walk_alone

    # Its processes end with this one, however it ends.
    pool = LocalPool(processes, Limits())
    try:
        futures: list[Future[list[Scores]]] = [pool.submit(walk_alone, task) for task in tasks]
        with progress_bar("replaying") as tell:
            total = sum(task.steps for task in tasks)
            while wait(futures, timeout=_POLL_SECONDS).not_done:
                done = sum(steps_done(task) for task in tasks)
                tell(Progress(step="replay", message="replaying", done=done, total=total))
                for future in futures:
                    if future.done():
                        pool.result(future)
                time.sleep(_POLL_SECONDS)
        return [scores for future in futures for scores in pool.result(future)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
