"""A PostgreSQL that is stopped, not dead: who can answers, the rest says why, and all is well again."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from benchmarks.rehearsal import Service, serve, stage
from clm.core.errors import DatabaseUnavailable
from clm.core.runs import RunRequest, RunState
from clm.registry.database import Database
from clm.registry.patience import QUESTION
from clm.registry.runs import SQLRunStore
from tests.support.postgres import own_server
from tests.support.waiting import LIMIT, eventually

_SILENT = re.compile("said nothing for|connection timeout expired")
#: Longer than any wait of a service for its database.
FROZEN_SECONDS = 25.0


@dataclass
class Asked:
    """What came of a path asked again and again: seconds and status of each answer."""

    path: str
    seconds: list[float] = field(default_factory=list)
    answers: list[httpx.Response] = field(default_factory=list)


@contextmanager
def _asking(service: Service, pauses: dict[str, float]) -> Iterator[dict[str, Asked]]:
    """Every path at its pace, by a client of its own, until left."""
    found, over = {path: Asked(path) for path in pauses}, threading.Event()

    def ask(asked: Asked, pause: float) -> None:
        with httpx.Client(timeout=LIMIT) as http:
            while not over.wait(pause):
                began = time.monotonic()
                asked.answers.append(http.get(f"{service.url}{asked.path}"))
                asked.seconds.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask, args=(found[path], pause)) for path, pause in pauses.items()]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join(LIMIT)


def test_a_service_whose_database_is_frozen_forecasts_from_memory_and_says_why_it_does_no_more(
    tmp_path: Path,
) -> None:
    predict, live, ready, status = (
        "/api/clm/predict", "/health/live", "/health/ready", "/api/clm/status",
    )  # fmt: skip
    with own_server() as server, stage(tmp_path, server.url, models=("lightgbm",)) as on:
        with on.application() as application:
            run = application.supervisor.submit(RunRequest(force=True))
            eventually(lambda: application.runs.get(run.run_id).state.over, "a champion")
            assert application.runs.get(run.run_id).state is RunState.COMPLETED
        service = serve(on)
        try:
            eventually(
                lambda: httpx.get(f"{service.url}{predict}", timeout=LIMIT).json()["forecast"], "a forecast"
            )
            pauses = {predict: 0.1, live: 0.1, ready: 1.0, status: 0.5}
            with server.frozen(), _asking(service, pauses) as found:
                time.sleep(FROZEN_SECONDS)
            thawed = time.monotonic()
            eventually(
                lambda: httpx.get(f"{service.url}{status}", timeout=LIMIT).status_code == 200, "a status"
            )
            eventually(
                lambda: httpx.get(f"{service.url}{ready}", timeout=LIMIT).status_code == 200, "readiness"
            )
            again = time.monotonic() - thawed
        finally:
            service.kill()

    assert {answer.status_code for answer in found[live].answers} == {200}
    assert {answer.status_code for answer in found[predict].answers} == {200}
    assert all(answer.json()["forecast"] is not None for answer in found[predict].answers)
    # Far more than it takes, and less than a wait for the database, whatever else the machine does.
    assert max(found[live].seconds) < QUESTION
    assert max(found[predict].seconds) < QUESTION
    assert max(found[ready].seconds) < 2 * QUESTION
    assert found[ready].answers[-1].status_code == 503
    assert "database" in str(found[ready].answers[-1].json()["checks"]["database"])
    assert {answer.status_code for answer in found[status].answers} <= {200, 503}
    assert found[status].answers[-1].status_code == 503
    assert _SILENT.search(found[status].answers[-1].json()["detail"])
    assert max(found[status].seconds) < 4 * QUESTION
    assert again < 4 * QUESTION


def test_who_asks_a_silent_database_is_told_soon_and_whoever_comes_meanwhile_at_once() -> None:
    with own_server() as server, closing(Database(server.url)) as database:
        runs = SQLRunStore(database)
        runs.latest()
        with server.frozen():
            with pytest.raises(DatabaseUnavailable, match=_SILENT):
                runs.latest()
            waited = [_waited_beside_another(database, runs) for _ in range(3)]

        assert runs.latest() is None
        # Where the other had just been told, it asks itself.
        assert min(waited) < 1


def test_who_has_the_patience_waits_until_it_speaks_again() -> None:
    with own_server() as server, closing(Database(server.url, patience=LIMIT)) as database:
        runs, told = SQLRunStore(database), []
        runs.latest()
        threads = [threading.Thread(target=lambda: told.append(_told(runs))) for _ in range(3)]
        with server.frozen():
            for thread in threads:
                thread.start()
            # So long that the first of them has been told more than once that it does not answer.
            time.sleep(12)
        for thread in threads:
            thread.join(LIMIT)

    assert told == [None] * 3


def _waited_beside_another(database: Database, runs: SQLRunStore) -> float:
    """Seconds until it is told that there is no answer, while somebody waits for one."""
    one = threading.Thread(target=_told, args=(runs,))
    one.start()
    eventually(lambda: _is_asked(database), "somebody who asks")
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=_SILENT):
        runs.latest()
    waited = time.monotonic() - began
    one.join(LIMIT)
    return waited


def _is_asked(database: Database) -> bool:
    free = database._asking.acquire(blocking=False)
    if free:
        database._asking.release()
    return not free


def _told(runs: SQLRunStore) -> str | None:
    """What is said of a database that does not answer; None where it does."""
    try:
        runs.latest()
    except DatabaseUnavailable as error:
        return str(error)
    return None
