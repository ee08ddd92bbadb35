"""Asks a running service whatever its own OpenAPI document allows, and forbids, and judges every answer.

Schemathesis draws the requests and has the checks; here stands which of them apply, and what was found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from clm.api.openapi import BODY, WATCHED

#: What a right request may be answered with, and 422 where no schema can say what is right.
_TAKEN_OR_NOT_FOR_YOU = ["2xx", "401", "403", "404", "409"]
_OR_SENSELESS = {"positive_data_acceptance": {"expected-statuses": [*_TAKEN_OR_NOT_FOR_YOU, "422"]}}
#: Operations that are not held to a check as all others are. No other check is left out or weakened.
EXCEPTIONS: Sequence[Mapping[str, Any]] = [
    # That candles follow each other, or that one field excludes another, is beyond a schema.
    {"include-name": "POST /api/clm/predict", "checks": _OR_SENSELESS},
    # No schema knows what time it is: an experiment cannot begin yesterday.
    {"include-name": "POST /api/clm/experiments", "checks": _OR_SENSELESS},
    # No schema knows what an exchange trades, nor which settings go together.
    {"include-name": "POST /api/clm/series", "checks": _OR_SENSELESS},
    # Nor which are watched, once they can be taken off.
    {"include-name": "DELETE /api/clm/series", "checks": _OR_SENSELESS},
    # No schema knows the parameters of every model type.
    {"include-name": "POST /api/clm/retrain", "checks": _OR_SENSELESS},
    # No schema knows how many candles of a length make a day, or on how many a model was trained.
    {"include-name": "GET /api/clm/data", "checks": _OR_SENSELESS},
    {"include-name": "GET /api/clm/drift/{model_type}", "checks": _OR_SENSELESS},
]
#: Not asked where nobody has made a key yet: then this machine is let in, whatever it shows.
_OF_KEYS = "ignored_auth"
_PHASES = ("examples", "coverage", "fuzzing", "stateful")


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard to look. examples: requests drawn per operation. edges: also the edges of every schema.

    rounds: of so many chains of so many steps along the document's links. Each has a seed of its own, because
    a chain that begins as an earlier one and goes otherwise (the world has changed) ends its round.
    """

    examples: int
    rounds: int
    chains: int = 20
    steps: int = 25
    seed: int = 1
    edges: bool = True


@dataclass
class Findings:
    """operations: all there are. answers: operation → status → how often. failures: a text each."""

    operations: set[str] = field(default_factory=set)
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        """Answers by their status, over all operations."""
        return sum(self.answers.values(), Counter())

    @property
    def succeeded(self) -> set[str]:
        """Operations that did at least once what they are for."""
        return {name for name, seen in self.answers.items() if any(200 <= status < 300 for status in seen)}

    def __add__(self, other: Findings) -> Findings:
        names = self.answers.keys() | other.answers.keys()
        both = {n: self.answers.get(n, Counter()) + other.answers.get(n, Counter()) for n in names}
        return Findings(self.operations | other.operations, both, [*self.failures, *other.failures])


def examine(
    url: str, key: str | None, plan: Plan, *, closed: bool = True, document: str | None = None
) -> Findings:
    """Everything that is wrong with the service at `url` for who shows `key`.

    closed: there are keys, so that nobody without one may be let in. document: a key to read the OpenAPI
    document with, where `key` does not open it.
    """
    shown, reader = _headers(key), _headers(document or key)
    alone = ("examples", "coverage", "fuzzing") if plan.edges else ("examples", "fuzzing")
    found = _pass(url, reader, _config(url, shown, plan, alone, plan.seed, closed))
    for number in range(plan.rounds):
        found += _pass(url, reader, _config(url, shown, plan, ("stateful",), plan.seed + number, closed))
    return found


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"X-API-Key": key}


def _config(
    url: str, headers: Mapping[str, str], plan: Plan, phases: Sequence[str], seed: int, closed: bool
) -> SchemathesisConfig:
    enabled: dict[str, Any] = {name: {"enabled": name in phases} for name in _PHASES}
    enabled["stateful"] |= {"max-steps": plan.steps, "generation": {"max-examples": plan.chains}}
    return SchemathesisConfig.from_dict({
        "seed": seed,
        "base-url": url,
        "headers": dict(headers),
        "continue-on-failure": True,
        "request-timeout": 30,
        "generation": {
            "max-examples": plan.examples, "deterministic": True, "no-shrink": True, "database": "none",
        },
        "analysis": {"constants": {"enabled": False}},
        "checks": {
            "positive_data_acceptance": {"expected-statuses": _TAKEN_OR_NOT_FOR_YOU},
            _OF_KEYS: {"enabled": closed},
        },
        "operations": list(EXCEPTIONS),
        "phases": enabled,
    })  # fmt: skip


def _pass(url: str, reader: Mapping[str, str], config: SchemathesisConfig) -> Findings:
    document = httpx.get(f"{url}/openapi.json", headers=dict(reader), timeout=30).json()
    # What is watched is a hint there; whoever examines asks for what there is.
    _narrow(document)
    schema = schemathesis.openapi.from_dict(document, config=config)
    found = Findings({one.ok().label for one in schema.get_all_operations() if isinstance(one, Ok)})
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                _take_down(found, event.recorder)
            case events.NonFatalError():
                found.failures.append(f"{event.label}: {event.info.title}: {event.info.message}")
            case events.FatalError():
                raise event.exception
            case _:
                pass
    return found


def _narrow(part: Any) -> None:
    """Every hint of what is watched as the only values."""
    if isinstance(part, dict):
        if WATCHED in part:
            part["enum"] = part[WATCHED]
        if BODY in part:
            part["requestBody"] = part[BODY]
        for inner in part.values():
            _narrow(inner)
    elif isinstance(part, list):
        for inner in part:
            _narrow(inner)


def _take_down(found: Findings, recorder: ScenarioRecorder) -> None:
    for number, interaction in recorder.interactions.items():
        answer = interaction.response
        name = recorder.cases[number].value.operation.label
        found.answers.setdefault(name, Counter())[answer.status_code if answer else 0] += 1
    for number, checks in recorder.checks.items():
        name = recorder.cases[number].value.operation.label
        for check in checks:
            info = check.failure_info
            if info is not None:
                answer = recorder.interactions[info.failure.case_id or number].response
                said = (
                    f"{answer.status_code} {answer.content[:500].decode(errors='replace')}" if answer else ""
                )
                told = (f"{name}: {check.name}: {info.failure.title}", info.failure.message, info.code_sample)
                found.failures.append("\n".join((*told, said)))
