"""Asks a running service whatever its own OpenAPI document allows, and forbids, and judges every answer.

Schemathesis draws the requests and has the checks; here stands which of them apply, and what was found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

#: What an examination leaves out, each with its reason. All other checks apply.
LEFT_OUT: Mapping[str, str] = {}


@dataclass
class Findings:
    """operations: all there are. asked: operation → status → answers. failures: a text each."""

    operations: set[str] = field(default_factory=set)
    asked: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def examine(url: str, key: str | None, *, examples: int, steps: int, seed: int, phases: Any = None) -> Findings:
    config: dict[str, Any] = {
        "seed": seed,
        "continue-on-failure": True,
        "generation": {"max-examples": examples, "no-shrink": True, "deterministic": True, "database": "none"},
        "checks": {name: {"enabled": False} for name in LEFT_OUT},
        "analysis": {"constants": {"enabled": False}},
        "phases": phases or {},
        "request-timeout": 30,
    }
    if key is not None:
        config["headers"] = {"X-API-Key": key}
    schema = schemathesis.openapi.from_url(
        f"{url}/openapi.json", config=SchemathesisConfig.from_dict(config), headers={"X-API-Key": key} if key else {}
    )
    found = Findings({found.ok().label for found in schema.get_all_operations()})
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _take_down(found, event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found.failures.append(str(getattr(event, "info", event)))
    return found


def _take_down(found: Findings, recorder: ScenarioRecorder) -> None:
    for number, interaction in recorder.interactions.items():
        label = recorder.cases[number].value.operation.label
        status = interaction.response.status_code if interaction.response else 0
        found.asked.setdefault(label, Counter())[status] += 1
    for number, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                f = check.failure_info.failure
                response = recorder.interactions[f.case_id or number].response
                found.failures.append(f"{recorder.cases[number].value.operation.label} {check.name}: {f.title}\n{f.message}\n{check.failure_info.code_sample}\n-> {response.status_code if response else None} {response.content[:400] if response else ''}\n {response.headers.get('content-type') if response else ''}")
