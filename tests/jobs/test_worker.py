"""Whatever becomes of a worker's run, its row says so, and so does the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from clm.core.domain import Progress
from clm.core.errors import UnknownModelType
from clm.core.runs import RunRequest, RunState
from clm.jobs.guard import LOST
from clm.worker import work
from tests.support.service import running_service


def test_a_run_that_came_to_nothing_has_failed_with_its_cause(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, exchange):
        exchange.set_faults("500")
        run = application.runs.create(RunRequest())

        code = work(application, run.run_id)

        ended = application.runs.get(run.run_id)
        assert (code, ended.state) == (1, RunState.FAILED)
        assert "HTTP 500" in str(ended.error)


def test_a_run_that_breaks_is_closed_with_its_cause(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, _):
        run = application.runs.create(RunRequest(models=("nosuch",)))

        with pytest.raises(UnknownModelType):
            work(application, run.run_id)

        ended = application.runs.get(run.run_id)
        assert ended.state is RunState.FAILED
        assert "nosuch" in str(ended.error)


def test_a_worker_whose_run_was_taken_away_leaves_the_row_as_it_is_and_no_version(tmp_path: Path) -> None:
    with running_service(tmp_path) as (application, _):
        run = application.runs.create(RunRequest())

        def take_away(progress: Progress) -> None:
            # On a slow machine a step tells more than once how far it is.
            if application.runs.get(run.run_id).state is RunState.RUNNING:
                application.runs.interrupt(run.run_id, "silent")

        code = work(application, run.run_id, take_away)

        ended = application.runs.get(run.run_id)
        assert (code, ended.state, ended.error) == (LOST, RunState.INTERRUPTED, "silent")
        assert application.registry.get_model_history("lightgbm") == []
