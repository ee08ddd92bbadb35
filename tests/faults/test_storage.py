"""A disk that is full, and a folder that cannot be written: said, nothing half written, no champion lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.rehearsal import Stage, broken_promises, ended, environment, stage
from clm.bootstrap import Application
from clm.core.runs import Run, RunRequest, RunState
from tests.support.waiting import LIMIT


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root and a kernel that allows it")
    yield folder
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=False, capture_output=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _run(application: Application) -> Run:
    submitted = application.supervisor.submit(RunRequest(force=True, requested_by="rehearsal"))
    return ended(application, submitted.run_id, LIMIT)


def _fill(folder: Path) -> Path:
    """Not a byte more fits."""
    filler = folder / "filler"
    with filler.open("wb") as out:
        try:
            while True:
                os.write(out.fileno(), b"x" * 4096)
        except OSError:
            pass
    return filler


def _champions(application: Application) -> list[str | None]:
    summary = application.manager().get_model_status_summary()
    return [summary[model]["active_version"] for model in application.models]


def _after_a_failure(application: Application, said: tuple[str, ...]) -> None:
    before = _champions(application)

    failed = _run(application)

    assert failed.state is RunState.FAILED
    assert any(word in str(failed.error) for word in said), failed.error
    assert _champions(application) == before
    assert broken_promises(application) == []


class TestAFullDisk:
    def test_of_the_models_fails_the_run_in_words_and_keeps_the_champions(
        self, tmp_path: Path, small_disk: Path
    ) -> None:
        with stage(tmp_path, model_dir=small_disk) as on, on.application() as application:
            assert _run(application).state is RunState.COMPLETED
            filler = _fill(small_disk)

            _after_a_failure(application, ("No space left",))

            filler.unlink()
            assert _run(application).state is RunState.COMPLETED
            assert broken_promises(application) == []

    def test_of_the_candles_fails_the_run_in_words_and_the_store_stays_readable(
        self, tmp_path: Path, small_disk: Path
    ) -> None:
        with stage(tmp_path, data_dir=small_disk) as on, on.application() as application:
            assert _run(application).state is RunState.COMPLETED
            filler = _fill(small_disk)
            _days_later(on, 3)

            _after_a_failure(application, ("No space left",))

            filler.unlink()
            assert _run(application).state is RunState.COMPLETED

    def test_of_the_database_is_said_and_once_there_is_room_everything_goes_on(
        self, tmp_path: Path, small_disk: Path
    ) -> None:
        with stage(tmp_path, f"sqlite:///{small_disk}/clm.db") as on:
            with on.application() as application:
                assert _run(application).state is RunState.COMPLETED
                before = _champions(application)
                filler = _fill(small_disk)
                told = subprocess.run(
                    _clm("retrain", "--force"), env=_environment(on), cwd=tmp_path, capture_output=True,
                    text=True, check=False, timeout=LIMIT,
                )  # fmt: skip
                assert told.returncode == 1
                assert "Traceback" not in told.stderr + told.stdout
                assert "full" in told.stderr + told.stdout or "disk" in told.stderr + told.stdout
                filler.unlink()

            with on.application() as application:
                application.supervisor.tidy()
                assert _champions(application) == before
                newest = application.runs.latest()
                if newest is not None and not newest.state.over:
                    application.supervisor.cancel(newest.run_id, "left over")
                assert _run(application).state is RunState.COMPLETED
                assert broken_promises(application) == []


def test_a_model_folder_that_turned_read_only_fails_the_run_and_the_champions_go_on_answering(
    tmp_path: Path, small_disk: Path
) -> None:
    with stage(tmp_path, model_dir=small_disk) as on, on.application() as application:
        assert _run(application).state is RunState.COMPLETED
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

        _after_a_failure(application, ("Read-only file system",))
        for model in application.models:
            champion = application.registry.get_active(model)
            assert champion is not None
            application.registry.load_model(champion)

        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert _run(application).state is RunState.COMPLETED


def _days_later(on: Stage, days: int) -> None:
    on.exchange.clock.advance(timedelta(days=days))


def _clm(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "clm", *arguments]


def _environment(on: Stage) -> dict[str, str]:
    return {**os.environ, **environment(on.settings)}
