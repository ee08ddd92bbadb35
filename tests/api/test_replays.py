"""`GET /replays`: reports are read with their schema, and nothing outside of the folder is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from tests.support.replays import written
from tests.support.service import running_service

Service = tuple[TestClient, Path]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, replay_dir=tmp_path / "replay") as (application, _):
        with TestClient(create_app(application)) as client:
            yield client, tmp_path / "replay"


def test_without_a_folder_there_is_none(service: Service) -> None:
    assert service[0].get("/api/clm/replays").json() == []


def test_a_report_is_listed_and_read_as_it_was_written(service: Service) -> None:
    client, folder = service
    file = written(folder / "spring")

    (head,) = client.get("/api/clm/replays").json()
    report = client.get("/api/clm/replays/spring").json()

    assert (head["name"], head["state"], head["problem"]) == ("spring", "ready", None)
    assert (head["policies"], head["series"]) == (["never", "evidence"], ["BTCUSDT 1h"])
    stored = json.loads(file.read_text())
    assert {k: report[k] for k in stored if k != "settings"} == {
        k: stored[k] for k in stored if k != "settings"
    }
    assert "settings" not in report


def test_one_that_was_broken_off_says_how_to_go_on(service: Service) -> None:
    client, folder = service
    (folder / "spring" / "never-BTCUSDT").mkdir(parents=True)
    (folder / "spring" / "never-BTCUSDT" / "state.json").write_text("{}")
    (folder / "notes").mkdir()

    (head,) = client.get("/api/clm/replays").json()
    answer = client.get("/api/clm/replays/spring")

    assert (head["name"], head["state"]) == ("spring", "unfinished")
    assert "call clm replay again" in head["problem"]
    assert (answer.status_code, answer.json()["detail"]) == (409, head["problem"])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe{", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b'{"scores": []}', "start: Field required"),
    ],
)
def test_a_damaged_report_gives_a_sentence_and_hides_no_other(
    service: Service, raw: bytes, said: str
) -> None:
    client, folder = service
    written(folder / "spring").write_bytes(raw)
    written(folder / "summer")

    heads = {head["name"]: head for head in client.get("/api/clm/replays").json()}
    answer = client.get("/api/clm/replays/spring")

    assert (heads["spring"]["state"], heads["summer"]["state"]) == ("damaged", "ready")
    assert answer.status_code == 409
    assert said in answer.json()["detail"]
    assert answer.json()["detail"] == heads["spring"]["problem"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("policy", "<img src=x onerror=alert(1)>"),
        ("loss", float("nan")),
        ("hours", "many"),
        ("curve", [["x", 1, 1]]),
    ],
)
def test_what_is_no_score_is_damage(service: Service, field: str, value: Any) -> None:
    client, folder = service
    file = written(folder / "spring")
    report = json.loads(file.read_text())
    report["scores"][0][field] = value
    file.write_text(json.dumps(report))

    answer = client.get("/api/clm/replays/spring")

    assert answer.status_code == 409
    assert f"scores.0.{field}" in answer.json()["detail"] or "Invalid JSON" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["winter", "..", ".", "%2e%2e", "..%2fspring", "%2fetc", ".hidden"])
def test_a_name_is_looked_up_and_never_a_path(service: Service, name: str) -> None:
    client, folder = service
    written(folder.parent / "spring")
    written(folder / ".hidden")

    answer = client.get(f"/api/clm/replays/{name}")

    assert answer.status_code == 404 or answer.json() == []


def test_a_changed_report_is_read_anew(service: Service) -> None:
    client, folder = service
    file = written(folder / "spring")
    before = client.get("/api/clm/replays").json()[0]["policies"]
    report = json.loads(file.read_text())
    report["scores"] = report["scores"][:1]
    file.write_text(json.dumps(report))

    assert (before, client.get("/api/clm/replays").json()[0]["policies"]) == (
        ["never", "evidence"],
        ["never"],
    )
