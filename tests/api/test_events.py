"""A run is told as it goes, to all who listen, by whichever service they ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clm.bootstrap import Application
from clm.client import Client
from clm.core.runs import RunRequest, RunState
from tests.support.loopback import on_loopback
from tests.support.service import running_service
from tests.support.waiting import LIMIT


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, Application, Path]]:
    with running_service(tmp_path) as (application, _), on_loopback(application) as url:
        yield url, application, tmp_path


def _told(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that has ended: event, id, data."""
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def test_a_run_is_followed_from_its_start_to_its_end(service: tuple[str, Application, Path]) -> None:
    url, _, _ = service
    with Client(url) as client:
        run = client.retrain(["lightgbm"])

        seen = list(client.events(run))

        assert [one.over for one in seen] == [False] * (len(seen) - 1) + [True]
        assert len(seen) >= 2
        assert seen[-1] == client.run(run.run_id)
        assert seen[-1].status == "completed"


def test_who_comes_back_hears_only_what_is_new_from_any_service(
    service: tuple[str, Application, Path],
) -> None:
    url, application, _ = service
    run = application.runs.create(RunRequest())
    path = f"/api/clm/runs/{run.run_id}/events"
    with httpx.stream("GET", url + path, timeout=LIMIT) as stream:
        first = next(block for block in stream.iter_lines() if block.startswith("id: ")).removeprefix("id: ")
    application.runs.finish(run.run_id, RunState.CANCELLED, error="enough")
    same = application.settings

    with Application(same, interactive=True) as replica, on_loopback(replica) as other:
        news = _told(httpx.get(other + path, headers={"Last-Event-ID": first}, timeout=LIMIT))
        nothing = httpx.get(url + path, headers={"Last-Event-ID": news[-1]["id"]}, timeout=LIMIT)

    assert [(one["event"], one["data"]["status"]) for one in news] == [("end", "cancelled")]
    assert (nothing.status_code, nothing.text) == (204, "")


def test_many_listeners_hear_the_same(service: tuple[str, Application, Path]) -> None:
    url, application, _ = service
    run = application.runs.create(RunRequest())
    heard: list[str] = []

    def listen() -> None:
        with Client(url) as client:
            heard.append(list(client.events(run.run_id))[-1].status)

    listeners = [threading.Thread(target=listen) for _ in range(10)]
    for one in listeners:
        one.start()
    application.runs.finish(run.run_id, RunState.FAILED, error="no disk")
    for one in listeners:
        one.join(LIMIT)

    assert heard == ["failed"] * 10


def test_a_run_that_does_not_exist_is_a_problem(service: tuple[str, Application, Path]) -> None:
    answer = httpx.get(f"{service[0]}/api/clm/runs/r404/events", timeout=LIMIT)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "r404" in answer.json()["detail"]
