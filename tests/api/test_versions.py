"""Versions beside one another and made once more; who reigned when; decisions that are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.runs import RunKind, RunRequest, RunState
from tests.support.service import caller, running_service, wait_for_end

Service = tuple[TestClient, Application]
DAYS = 3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """LightGBM was trained once a day, and the newest always reigns."""
    folder = tmp_path_factory.mktemp("versions")
    more: dict[str, Any] = {"models": ("lightgbm",), "symbols": ("BTCUSDT", "ETHUSDT")}
    with running_service(folder, promotion_policy="newest", rate_limit_per_minute=0, **more) as (
        application,
        exchange,
    ):
        for day in range(DAYS):
            application.run(RunRequest(force=True, params={"lightgbm": {"num_trees": 5 + day}}))
            exchange.clock.advance(timedelta(days=1))
        yield caller(create_app(application)), application


def _versions(client: TestClient) -> list[str]:
    found = client.get("/api/clm/history/lightgbm").json()["versions"]
    return [version["version"] for version in found]


def test_two_versions_are_told_apart_by_what_differs(service: Service) -> None:
    client, _ = service
    newest, before, _ = _versions(client)

    found = client.get("/api/clm/compare/lightgbm", params={"a": before, "b": newest}).json()

    facts = {(fact["group"], fact["name"]): fact for fact in found["facts"]}
    assert {group for group, _ in facts} == {
        "version", "metrics", "recipe", "features", "lineage", "evidence", "training"
    }  # fmt: skip
    trees = facts["recipe", "num_boost_round"]
    assert (trees["a"], trees["b"], trees["same"]) == (6, 7, False)
    assert facts["features", "schema"]["same"]
    assert facts["lineage", "replaced"]["b"] == before
    assert facts["evidence", "last decision"]["b"] == "PROMOTE (newest)"
    assert (found["features"]["both"] or 0) > 20
    assert found["features"]["only_a"] == found["features"]["only_b"] == []


def test_a_version_that_is_not_there_is_named(service: Service) -> None:
    client, _ = service
    newest = _versions(client)[0]

    compared = client.get("/api/clm/compare/lightgbm", params={"a": newest, "b": "v1"})
    remade = client.post("/api/clm/reproduce/lightgbm/v1")

    assert [a.status_code for a in (compared, remade)] == [404, 404]
    assert "'v1'" in compared.json()["detail"]


def test_a_version_is_made_once_more_in_the_background(service: Service) -> None:
    client, application = service
    newest = _versions(client)[0]

    started = client.post(f"/api/clm/reproduce/lightgbm/{newest}")
    second = client.post(f"/api/clm/reproduce/lightgbm/{newest}")
    run_id = started.json()["run_id"]
    ended = wait_for_end(application, run_id)
    shown = client.get(f"/api/clm/runs/{run_id}").json()

    assert (started.status_code, second.status_code) == (202, 409)
    assert second.json()["detail"].startswith(f"a reproduce run is already in progress: {run_id} (")
    assert (ended.state, shown["report"]["verdict"]) == (RunState.COMPLETED, "identical")
    assert shown["request"]["version"] == newest
    assert client.get("/api/clm/runs", params={"kind": "reproduce"}).json()[0]["run_id"] == run_id
    assert client.get(f"/api/clm/runs/{run_id}/models").json()["models"] == []


def test_a_version_that_cannot_be_made_again_says_why(service: Service) -> None:
    _, application = service
    asked = RunRequest(
        models=("lightgbm",), symbols=("BTCUSDT",), intervals=("1h",), version="v1", kind=RunKind.REPRODUCE
    )

    ended = wait_for_end(application, application.supervisor.submit(asked).run_id)

    assert ended.state is RunState.FAILED
    assert "has no version 'v1'" in str(ended.error)


def test_who_was_champion_when_and_why(service: Service) -> None:
    client, _ = service
    versions = _versions(client)

    found = client.get("/api/clm/reigns/lightgbm").json()

    assert [reign["version"] for reign in found] == versions
    assert found[0]["until"] is None
    assert [reign["until"] for reign in found[1:]] == [reign["since"] for reign in found[:-1]]
    decision = client.get(f"/api/clm/decisions/{found[0]['decision_id']}").json()
    assert (decision["reason"], decision["label"]) == (found[0]["reason"], found[0]["label"])


class TestDecisions:
    def _found(self, service: Service, **query: Any) -> list[dict[str, Any]]:
        answer = service[0].get("/api/clm/decisions", params={"limit": 100, **query})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    def test_of_all_series_or_of_one(self, service: Service) -> None:
        assert len(self._found(service, every=True)) == 2 * DAYS
        assert {d["symbol"] for d in self._found(service)} == {"BTCUSDT"}
        assert {d["symbol"] for d in self._found(service, every=True, symbol="ETHUSDT")} == {"ETHUSDT"}

    def test_by_what_was_decided_by_words_and_by_time(self, service: Service) -> None:
        every = self._found(service)
        middle = every[1]

        assert self._found(service, outcome="REJECT") == []
        assert self._found(service, outcome="PROMOTE") == every
        assert self._found(service, text=every[0]["reason"][2:30].upper()) != []
        assert self._found(service, text="100%_of nothing") == []
        assert self._found(service, since=middle["decided_at"]) == every[:2]
        assert self._found(service, until=middle["decided_at"]) == every[2:]

    @pytest.mark.parametrize(
        "query", [{"outcome": "MAYBE"}, {"since": "2024-01-01T00:00:00"}, {"until": "x"}]
    )
    def test_what_cannot_be_is_named(self, service: Service, query: dict[str, str]) -> None:
        answer = service[0].get("/api/clm/decisions", params=query)

        assert answer.status_code == 422
        assert next(iter(query)) in answer.json()["detail"]
