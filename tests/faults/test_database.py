"""A database that goes away and comes back, and one that everybody wants at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.rehearsal import broken_promises, serve, stage
from clm.bootstrap import Application
from clm.core.runs import RunRequest, RunState
from clm.jobs.supervisor import to_be_resumed
from clm.registry.sql import SQLModelRegistry
from tests.support.bets import RIDGE
from tests.support.postgres import own_server
from tests.support.versions import BTC
from tests.support.waiting import LIMIT, eventually

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("moment", ["candles", "evaluation fit", "refit", "decision"])
def test_a_database_restarted_in_the_middle_of_a_run_costs_an_attempt_at_most(
    moment: str, tmp_path: Path
) -> None:
    with own_server() as server, stage(tmp_path, server.url) as on, on.application() as application:
        on.exchange.exchange.latency = 0.3
        run = application.supervisor.submit(RunRequest(force=True, requested_by="rehearsal"))
        _wait_for_step(application, run.run_id, moment)

        server.stop()
        time.sleep(1.5)
        server.start()
        on.exchange.exchange.latency = 0
        _look_until_over(application, run.run_id)

        over = application.runs.get(run.run_id)
        assert over.state is RunState.COMPLETED, over.error
        assert over.attempt <= 2
        assert broken_promises(application) == []


def test_a_service_answers_503_while_its_database_is_down_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with own_server() as server, stage(tmp_path, server.url) as on:
        service = serve(on)
        try:
            before = httpx.get(f"{service.url}/api/clm/models", timeout=LIMIT)
            assert before.status_code == 200, before.text
            server.stop()

            down = httpx.get(f"{service.url}/api/clm/models", timeout=LIMIT)
            refused = httpx.post(f"{service.url}/api/clm/retrain", json={}, timeout=LIMIT)
            alive = httpx.get(f"{service.url}/health/live", timeout=LIMIT)
            server.start()
            back = httpx.get(f"{service.url}/api/clm/models", timeout=LIMIT)
        finally:
            service.kill()

    assert (down.status_code, refused.status_code, alive.status_code) == (503, 503, 200)
    assert down.headers["content-type"] == "application/problem+json"
    assert "did not answer" in down.json()["detail"]
    assert back.status_code == 200, back.text


_HAMMER = """
import sys
from pathlib import Path
from clm.core.runs import RunRequest, RunState
from clm.registry.runs import SQLRunStore
from clm.registry.sql import SQLModelRegistry
from clm.core.errors import ChampionChanged, RunInProgress
from tests.support.versions import BTC, candidate
url, models = sys.argv[1:]
with SQLModelRegistry(url, Path(models), series=BTC) as registry:
    runs = SQLRunStore(registry.database)
    for day in range(15):
        saved = registry.save_model(candidate(day))
        registry.promote(saved.model_type, saved.version)
        registry.get_model_history(saved.model_type, limit=50)
        try:
            runs.finish(runs.start(runs.create(RunRequest()).run_id, "me").run_id, RunState.COMPLETED)
        except RunInProgress:
            pass
"""


def test_eight_processes_on_one_sqlite_file_never_hear_that_it_is_locked(tmp_path: Path) -> None:
    url, models = f"sqlite:///{tmp_path}/clm.db", tmp_path / "models"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _HAMMER, url, str(models)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]

    told = [child.communicate(timeout=LIMIT)[1] for child in children]

    assert [child.returncode for child in children] == [0] * 8, told
    with SQLModelRegistry(url, models, series=BTC) as registry:
        history = registry.get_model_history(RIDGE, limit=1000)
        assert len(history) == 8 * 15
        assert [str(a.status) for a in history].count("ACTIVE") == 1
        assert registry.verify() == []


def _wait_for_step(application: Application, run_id: str, moment: str) -> None:
    def come() -> bool:
        progress = application.runs.get(run_id).progress
        # A step may begin and end between two looks.
        return moment in {progress.get("step"), *(line["step"] for line in progress.get("log", ()))}

    eventually(come, f"{run_id} at {moment}", pause=0.005)


def _look_until_over(application: Application, run_id: str) -> None:
    """As a service does once a minute, but quicker."""

    def over() -> bool:
        application.supervisor.recover()
        run = application.runs.get(run_id)
        return run.state.over and not to_be_resumed(run)

    eventually(over, lambda: f"the end of {application.runs.get(run_id)}", pause=0.3)
