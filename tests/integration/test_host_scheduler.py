"""A host's own scheduler: its cycle is a run like any other, and its process outlives a lost one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from clm.api import clm_routes
from clm.core.domain import Progress
from clm.core.errors import LeaseLost, RunInProgress, UnknownModelType
from clm.core.runs import RunRequest, RunState
from clm.jobs.guard import owner
from tests.support.exchange import serving, simulated
from tests.support.service import settings_for
from tests.support.waiting import eventually


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A host that has mounted the routes; its settings come from its environment."""
    with serving(simulated()) as exchange:
        given = settings_for(exchange, tmp_path, models=("lightgbm",))
        for name in given.model_fields_set:
            monkeypatch.setenv(f"CLM_{name.upper()}", _text(getattr(given, name)))
        clm_routes.default_application.cache_clear()
        app = FastAPI()
        app.include_router(clm_routes.router)
        try:
            with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
                yield client
        finally:
            clm_routes.default_application().close()
            clm_routes.default_application.cache_clear()


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def test_what_it_did_is_in_status_afterwards(host: TestClient) -> None:
    report = clm_routes.get_clm_instance().run_full_cycle(force=False)

    status = host.get("/api/clm/status").json()
    assert report.promoted_models == ("lightgbm",)
    assert (status["status"], status["error"]) == ("completed", None)
    assert (status["request"]["requested_by"], status["owner"]) == ("python", owner())
    assert status["report"]["promoted_models"] == ["lightgbm"]
    assert status["report"]["trigger"] == report.trigger == "Never trained"
    assert status["progress"]["done"] == status["progress"]["total"]
    (turn,) = host.get(f"/api/clm/runs/{status['run_id']}/models").json()["models"]
    assert turn["state"] == "promoted"


def test_forced_it_is_manual_and_nothing_due_is_a_run_too(host: TestClient) -> None:
    manager = clm_routes.get_clm_instance()
    manager.run_full_cycle()

    nothing = manager.run_full_cycle()
    assert nothing.trigger == host.get("/api/clm/status").json()["report"]["trigger"] == "no trigger fired"

    assert manager.run_full_cycle(["lightgbm"], force=True).trigger == "manual"
    assert host.get("/api/clm/status").json()["report"]["trigger"] == "manual"
    assert len(host.get("/api/clm/runs").json()) == 3


def test_while_another_run_is_under_way_it_is_refused_and_a_wrong_model_leaves_no_run(
    host: TestClient,
) -> None:
    manager, runs = clm_routes.get_clm_instance(), clm_routes.default_application().runs
    with pytest.raises(UnknownModelType):
        manager.run_full_cycle(["prophet"])
    assert runs.latest() is None
    other = runs.create(RunRequest())

    with pytest.raises(RunInProgress, match=other.run_id):
        manager.run_full_cycle(force=True)


def test_a_run_that_is_cancelled_stops_and_the_hosts_process_goes_on(host: TestClient) -> None:
    application = clm_routes.default_application()

    def cancel(progress: Progress) -> None:
        if progress.step == "refit":
            run = application.runs.latest()
            assert run is not None
            assert host.post(f"/api/clm/runs/{run.run_id}/cancel").status_code == 200

    with pytest.raises(LeaseLost):
        clm_routes.get_clm_instance().run_full_cycle(force=True, progress=cancel)

    run = application.runs.latest()
    assert run is not None
    assert run.state is RunState.CANCELLED
    assert application.registry.for_series(application.series[0]).get_model_history("lightgbm") == []
    # And the next one is as if nothing had been.
    assert clm_routes.get_clm_instance().run_full_cycle(force=True).promoted_models == ("lightgbm",)


def test_a_lease_that_is_lost_while_a_step_takes_long_does_not_end_the_process(
    host: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's thread notices first, long before the step is done."""
    application, noticed = clm_routes.default_application(), threading.Event()
    monkeypatch.setattr("clm.jobs.guard.log.warning", lambda event, **more: noticed.set())

    def lose(progress: Progress) -> None:
        if progress.step == "refit":
            run = application.runs.latest()
            assert run is not None
            application.runs.interrupt(run.run_id, "given to another")
            eventually(noticed.is_set, "the guard's word")

    with pytest.raises(LeaseLost):
        clm_routes.get_clm_instance().run_full_cycle(force=True, progress=lose)

    run = application.runs.latest()
    assert run is not None
    assert (run.state, run.error) == (RunState.INTERRUPTED, "given to another")


def test_what_others_ask_of_the_service_meanwhile_is_not_done_in_the_runs_name(host: TestClient) -> None:
    clm_routes.get_clm_instance().run_full_cycle()
    application = clm_routes.default_application()
    version = host.get("/api/clm/models").json()["lightgbm"]["active_version"]
    codes: list[int] = []

    def retire(progress: Progress) -> None:
        if progress.step == "refit" and not codes:
            run = application.runs.latest()
            assert run is not None
            application.runs.interrupt(run.run_id, "given to another")
            asked = threading.Thread(
                target=lambda: codes.append(host.post(f"/api/clm/promote/lightgbm/{version}").status_code)
            )
            asked.start()
            asked.join()

    with pytest.raises(LeaseLost):
        clm_routes.get_clm_instance().run_full_cycle(force=True, progress=retire)

    # In the lost run's name it would have been refused.
    assert codes == [200]
