"""The rehearsal of a disaster: backed up while others write, destroyed, restored, and all is as before."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clm.bootstrap import Application
from clm.core.recompute import recompute
from clm.core.runs import RunRequest, RunState
from clm.registry.backup import back_up
from clm.registry.restore import restore
from clm.registry.sql import SQLModelRegistry
from tests.support.postgres import fresh_database
from tests.support.service import running_service, settings_for, wait_for_end
from tests.support.versions import ETH, candidate
from tests.support.waiting import eventually


def _run(application: Application) -> None:
    run = application.supervisor.submit(RunRequest(models=None, force=True))
    assert wait_for_end(application, run.run_id).state is RunState.COMPLETED


def _forecasts(application: Application) -> dict[str, Any]:
    """What the champions say of the last days."""
    series = application.series[0]
    frame = application.feature_engineer.transform(application.data_client(series).load_recent_data(20))
    said = {}
    for name in application.models:
        champion = application.registry.get_active(name)
        assert champion is not None
        said[name] = (champion.version, application.registry.load_model(champion).predict(frame))
    return said


def _recomputed(application: Application) -> dict[int, tuple[Any, bool]]:
    registry = application.registry
    decisions = [d for d in registry.get_decisions(limit=500) if d.inputs]
    return {int(str(d.decision_id)): (d, recompute(registry, d).same) for d in decisions}


@contextmanager
def _writer(db_url: str, models: Path) -> Iterator[list[str]]:
    """Somebody who saves and promotes on another series all the while."""
    over, written = threading.Event(), []

    def write() -> None:
        with SQLModelRegistry(db_url, models, series=ETH) as registry:
            day = 0
            while not over.is_set():
                saved = registry.save_model(candidate(day, series=ETH))
                registry.promote("sklearn_ridge", saved.version)
                written.append(saved.version)
                day += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        over.set()
        thread.join()


@pytest.mark.rehearse
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_registry_that_was_destroyed_comes_back_and_answers_as_before(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack, running_service(tmp_path) as (application, exchange):
        _run(application)
        exchange.clock.advance(timedelta(days=8))
        _run(application)
        application.live_shadow(rehearsal=True).tick()
        settings = application.settings
        before, decided = _forecasts(application), _recomputed(application)
        with _writer(settings.db_url, settings.model_dir) as written:
            eventually(lambda: len(written) >= 3, "three versions of somebody else's")
            at_first = len(written)
            back_up(settings.db_url, settings.model_dir, tmp_path / "backup")
            at_last = len(written)
        application.registry.close()

        for lost in tmp_path.glob("clm.db*"):
            lost.unlink()
        shutil.rmtree(settings.model_dir)
        url = settings.db_url if kind == "sqlite" else stack.enter_context(fresh_database())
        restore(url, settings.model_dir, tmp_path / "backup")

        with Application(settings_for(exchange, tmp_path, db_url=url), interactive=True) as back:
            assert back.registry.verify() == []
            after = _forecasts(back)
            assert after.keys() == before.keys() == {"xgboost", "lightgbm"}
            for name, (version, forecast) in after.items():
                assert version == before[name][0]
                assert np.array_equal(forecast, before[name][1])
            again = _recomputed(back)
            assert again == decided
            assert len(again) >= 4
            assert all(same for _, same in again.values())
            others = back.registry.for_series(ETH).get_model_history("sklearn_ridge", limit=10_000)
            assert at_first <= len(others) <= at_last + 1
            exchange.clock.advance(timedelta(days=8))
            _run(back)
