"""Database, models and candles elsewhere: replicas that share no disk work as one, and keep nothing here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from benchmarks.rehearsal import environment
from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.closes import newest_close
from clm.core.runs import RunKind, RunRequest, RunState
from clm.settings import Settings
from tests.support.exchange import serving, simulated
from tests.support.postgres import fresh_database
from tests.support.s3 import BUCKET, S3, s3_server
from tests.support.service import settings_for, wait_for_end
from tests.support.waiting import LIMIT, eventually

HOUR = timedelta(hours=1)


@pytest.fixture
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """PostgreSQL where there is one."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(fresh_database())
        except pytest.skip.Exception:
            url = f"sqlite:///{tmp_path}/shared/clm.db"
        yield url


def _clm(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clm", *arguments], env={**os.environ, **environment(settings)}, cwd=folder,
        capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip


@pytest.mark.rehearse
def test_one_replica_retrains_in_a_pool_of_processes_and_the_other_answers_with_its_model(
    s3: S3, database: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(serving(simulated()))
        folders = [tmp_path / name for name in ("one", "two")]
        one, two = (
            stack.enter_context(
                Application(
                    settings_for(
                        exchange, folder, db_url=database, model_dir=f"s3://{BUCKET}/models",
                        data_dir=f"s3://{BUCKET}/candles", symbols=("BTCUSDT", "ETHUSDT"), processes=2,
                        executor="local",
                        models=("lightgbm",), live_shadow=True,
                    ),
                    interactive=True,
                )
            )
            for folder in folders
        )  # fmt: skip
        run = wait_for_end(one, one.supervisor.submit(RunRequest(force=True)).run_id)
        assert run.state is RunState.COMPLETED, run.error

        champion = two.registry.get_active("lightgbm")
        assert champion is not None
        with TestClient(create_app(two)) as client:
            answer = client.get("/api/clm/predict", params={"model": "lightgbm"})
            ready = client.get("/health/ready").json()
        assert answer.json()["artifact_sha256"] == champion.artifact_sha256, answer.text
        assert ready["status"] == "ready", ready
        assert two.newest_stored(two.series[0]) == newest_close(two.now(), HOUR)

        two.live_watch.tick()
        assert eventually(lambda: _newest_tick(two), "the end of a tick", pause=0.1) == RunState.COMPLETED

        verified = _clm(two.settings, tmp_path, "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr

        s3.client().put_object(Bucket=BUCKET, Key=f"models/{champion.file_path}", Body=b"altered")
        refused = _clm(two.settings, tmp_path, "verify")
        assert refused.returncode == 1
        assert champion.version in refused.stdout + refused.stderr
        assert _clm(two.settings, tmp_path, "verify", "--fix").returncode == 0
        aside = two.registry.get_version("lightgbm", champion.version)
        assert f"s3://{BUCKET}/models/{champion.file_path}" in str(aside.quarantine_reason)

        assert [folder for folder in folders if folder.exists()] == []


def _newest_tick(application: Application) -> RunState | None:
    newest = application.runs.latest(RunKind.SHADOW)
    return newest.state if newest is not None and newest.state.over else None
