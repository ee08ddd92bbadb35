"""What Prometheus reads: every metric and label that dashboard and alert rules name is really there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from clm.api.app import create_app
from clm.bootstrap import Application
from clm.core.alert import KINDS
from clm.core.runs import RunRequest
from clm.market.failures import count_failure
from clm.registry.tables import alerts, evidence, forecasts, versions
from tests.support import rows
from tests.support.postgres import own_server
from tests.support.service import caller, running_service, wait_for_end

DOCS = Path(__file__).parents[2] / "docs" / "monitoring"
Scraped = dict[str, list[dict[str, str]]]


def _samples(text: str) -> Scraped:
    found: Scraped = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """A service that has trained, with a live forecast and a bet of its champion's, and an incident."""
    with running_service(tmp_path_factory.mktemp("metrics")) as (application, _):
        wait_for_end(application, application.supervisor.submit(RunRequest(force=True)).run_id)
        with application.registry.database.writing() as connection:
            query = versions.select().where(
                versions.c.status == "ACTIVE", versions.c.model_type == "lightgbm"
            )
            row = connection.execute(query).one()
            reign = row.promoted_at
            later = reign + timedelta(hours=1)
            connection.execute(
                forecasts.insert().values(
                    **{**rows._forecast(1), "version": row.version, "open_time": later, "actual": 0.01}
                )
            )
            bet = {name: value for name, value in rows._bet(1).items() if name in evidence.c}
            bet |= {"log_e": 0.5, "state_json": {}}
            bet |= {"champion_version": row.version, "reign": reign, "open_time": later}
            connection.execute(evidence.insert().values(**bet))
            connection.execute(
                alerts.insert().values(
                    incident="drift-1", kind="drift", model_type="lightgbm", symbol="BTCUSDT", interval="1h",
                    subject="-", message="-", first_at=reign, last_at=reign, times=2,
                )
            )  # fmt: skip
        count_failure("get_klines", OSError())
        yield application


@pytest.fixture(scope="module")
def scraped(trained: Application) -> Scraped:
    client = caller(create_app(trained))
    client.get("/api/clm/models")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return _samples(answer.text)


def _expressions() -> list[str]:
    board: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", _expressions())
def test_what_dashboard_and_alerts_ask_for_is_there(scraped: Scraped, expression: str) -> None:
    names = re.findall(r"\bclm_[a-z0-9_]+", expression)
    labels = {name for group in re.findall(r"by \(([^)]*)\)", expression) for name in group.split(", ")}
    labels |= set(re.findall(r"[{,]\s*([a-z_]+)[=!]", expression))

    assert names
    for name in names:
        assert name in scraped
        assert labels <= {"instance", *scraped[name][0]}


def test_what_no_route_took_is_one_series(trained: Application) -> None:
    client = caller(create_app(trained))
    for number in range(5):
        client.get(f"/no/such/{number}")

    counted = _samples(client.get("/metrics").text)["clm_http_request_duration_seconds_count"]
    assert counted == [{"route": "none", "method": "GET", "status": "4xx"}]


def test_a_scrape_without_a_database_is_a_503_and_no_half_a_page(tmp_path: Path) -> None:
    with own_server() as server, running_service(tmp_path, db_url=server.url) as (application, _):
        client = caller(create_app(application))
        assert client.get("/metrics").status_code == 200
        server.stop()

        answer = client.get("/metrics")
        server.start()

        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.get("/metrics").status_code == 200


def _incident_rules() -> dict[str, str]:
    """Severity of the label → the selector of the rule."""
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
    return {rule["labels"]["severity"]: rule["expr"] for rule in rules if "clm_incidents" in rule["expr"]}


def test_every_rule_says_how_urgent_it_is() -> None:
    rules = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]

    assert {rule["labels"]["severity"] for rule in rules} == {"warning", "critical"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_news_wakes_nobody_and_every_other_incident_fires_its_severitys_rule(kind: str) -> None:
    """An ordinary promotion fired ClmIncident once."""
    severity, rules = KINDS[kind].severity, _incident_rules()

    assert set(rules) == {"warning", "critical"}
    firing = [name for name, expr in rules.items() if f'severity="{severity}"' in expr]
    assert firing == ([] if severity == "info" else [severity])
    assert (severity == "info") == (kind in ("promoted", "experiment", "drift"))


def test_an_incident_carries_its_severity(scraped: Scraped) -> None:
    told = {labels["kind"]: labels["severity"] for labels in scraped["clm_incidents"]}

    assert told == {name: kind.severity for name, kind in KINDS.items()}
