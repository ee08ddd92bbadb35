"""The document says what happens: every refusal any operation may make, and where each link leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from clm.api.app import create_app
from clm.api.openapi import LINKS
from clm.bootstrap import Application
from clm.core.access import Role
from clm.core.runs import RunRequest
from tests.support.service import caller, running_service

PROBLEM = "application/problem+json"
SAMPLES = {
    "model_type": "xgboost", "version": "v1", "run_id": "r1", "decision_id": "1", "experiment_id": "x1",
    "name": "r1",
}  # fmt: skip


class Described:
    """A service, a key for every role, and what its document says."""

    def __init__(self, application: Application) -> None:
        self.app: FastAPI = create_app(application)
        self.keys = {role: application.keys.add(f"the-{role}", role)[1] for role in Role}
        self.document: dict[str, Any] = self.app.openapi()

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(method, path, operation) of everything under /api/clm/."""
        for path, operations in self.document["paths"].items():
            for method, operation in operations.items():
                if path.startswith("/api/clm/"):
                    yield method, path, operation

    def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> Any:
        who = caller(self.app, key, host=more.pop("host", "127.0.0.1:8000"))
        return who.request(method, path.format(**SAMPLES), **more)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    folder = tmp_path_factory.mktemp("document")
    with running_service(folder, rate_limit_per_minute=0, max_body_kb=1) as (application, exchange):
        for _ in range(2):
            application.run(RunRequest(models=("lightgbm",), force=True))
            exchange.clock.advance(timedelta(hours=1))
        yield Described(application)


def _is_told_of(operation: Mapping[str, Any], answer: Any, status: int) -> bool:
    return (
        answer.status_code == status
        and answer.headers["content-type"] == PROBLEM
        and PROBLEM in operation["responses"][str(status)]["content"]
    )


class TestEveryOperation:
    def test_tells_of_400_for_another_services_name(self, described: Described) -> None:
        for method, path, operation in described.operations():
            answer = described.ask(method, path, described.keys[Role.ADMIN], host="evil.example")

            assert _is_told_of(operation, answer, 400), path

    def test_tells_of_401_for_a_stranger(self, described: Described) -> None:
        for method, path, operation in described.operations():
            assert _is_told_of(operation, described.ask(method, path), 401), path

    def test_tells_of_403_for_a_role_that_does_not_cover_it(self, described: Described) -> None:
        for method, path, operation in described.operations():
            if operation["x-clm-role"] != "read":
                answer = described.ask(method, path, described.keys[Role.READ])

                assert _is_told_of(operation, answer, 403), path

    def test_that_takes_a_body_or_changes_something_tells_of_413(self, described: Described) -> None:
        for method, path, operation in described.operations():
            if method != "get":
                answer = described.ask(method, path, described.keys[Role.ADMIN], content=b"x" * 2000)

                assert _is_told_of(operation, answer, 413), path

    def test_that_changes_something_tells_of_429(self, described: Described) -> None:
        application: Application = described.app.state.clm
        settings = application.settings.model_copy(update={"rate_limit_per_minute": 1})
        changing = [one for one in described.operations() if one[0] != "get" and one[1] != "/api/clm/predict"]

        with Application(settings) as another:
            client = caller(create_app(another), described.keys[Role.ADMIN])
            answers = [
                client.request(m, path.format(**SAMPLES), json={"models": []}) for m, path, _ in changing
            ]

        told = [_is_told_of(one[2], answer, 429) for one, answer in zip(changing, answers, strict=True)]
        assert told == [False] + [True] * (len(changing) - 1)

    def test_documents_503_for_when_the_database_or_the_exchange_is_away(self, described: Described) -> None:
        for _, path, operation in described.operations():
            assert PROBLEM in operation["responses"]["503"]["content"], path

    @pytest.mark.parametrize("path", ["/api/clm/experiments", "/api/clm/predict", "/api/clm/status"])
    def test_of_one_path_is_named_where_a_method_is_not_allowed(
        self, described: Described, path: str
    ) -> None:
        answer = described.ask("PATCH", path, described.keys[Role.ADMIN])

        assert answer.status_code == 405
        assert {name.lower() for name in answer.headers["allow"].split(", ")} == set(
            described.document["paths"][path]
        )


class TestALink:
    def test_leads_to_an_operation_and_names_its_parameters(self, described: Described) -> None:
        paths = described.document["paths"]
        for links in LINKS.values():
            for (method, path), parameters, body in links.values():
                operation = paths[path][method]
                known = {one["name"]: one for one in operation.get("parameters", [])}

                assert parameters.keys() <= known.keys()
                assert {n for n, one in known.items() if one["in"] == "path"} <= parameters.keys()
                assert body is None or "requestBody" in operation

    def test_from_a_history_begins_an_experiment_that_its_links_show_and_stop(
        self, described: Described
    ) -> None:
        key = described.keys[Role.ADMIN]
        history = described.ask("GET", "/api/clm/history/lightgbm", key).json()

        _, begun = self._follow(described, ("get", "/api/clm/history/{model_type}"), "compare", history)
        shown, found = self._follow(described, ("post", "/api/clm/experiments"), "experiment", begun.json())
        _, stopped = self._follow(described, ("post", "/api/clm/experiments"), "stop", begun.json())

        assert (begun.status_code, found.status_code, stopped.status_code) == (201, 200, 200)
        assert begun.json()["versions"] == [version["version"] for version in history["versions"]]
        assert shown.endswith(found.json()["experiment_id"])
        assert stopped.json()["result"]["why"] == "stopped"

    @staticmethod
    def _follow(described: Described, source: tuple[str, str], name: str, answer: Any) -> tuple[str, Any]:
        """(path, answer) of one link, as any client of the document follows it."""
        (method, path), parameters, body = LINKS[source][name]
        found = {one: _resolved(expression, answer) for one, expression in parameters.items()}
        path = path.format(**found)
        more = {} if body is None else {"json": _resolved(body, answer)}
        who = caller(described.app, described.keys[Role.ADMIN])
        return path, who.request(method, path, **more)


def _resolved(expression: Any, answer: Any) -> Any:
    """A runtime expression's value, as OpenAPI defines it; anything else is itself."""
    match expression:
        case dict():
            return {name: _resolved(value, answer) for name, value in expression.items()}
        case list():
            return [_resolved(value, answer) for value in expression]
        case str() if expression.startswith("$response.body#/"):
            for part in expression.removeprefix("$response.body#/").split("/"):
                answer = answer[int(part) if isinstance(answer, list) else part]
            return answer
    return expression


class TestGenerators:
    """What programs that make clients of the document stumble over; some of them run in test_generators."""

    def test_every_schema_has_a_name_and_a_title_of_its_own(self, described: Described) -> None:
        schemas = described.document["components"]["schemas"]

        assert [name for name in schemas if "__" in name] == []
        titles = [schema.get("title", name) for name, schema in schemas.items()]
        assert len(set(titles)) == len(titles)

    def test_every_operation_has_one_tag_and_an_id_of_its_own(self, described: Described) -> None:
        operations = [operation for _, _, operation in described.operations()]

        assert {len(operation["tags"]) for operation in operations} == {1}
        assert len({operation["operationId"] for operation in operations}) == len(operations)

    def test_no_link_has_a_body_that_is_no_text(self, described: Described) -> None:
        for _, path, operation in described.operations():
            for answer in operation["responses"].values():
                for link in answer.get("links", {}).values():
                    assert isinstance(link.get("requestBody", ""), str), path

    def test_what_is_watched_is_told_and_limits_nothing(self, described: Described) -> None:
        """A client made today must be able to ask for the series that is added tomorrow."""
        watched: list[Any] = []
        limited: list[Any] = []

        def look(part: Any) -> None:
            if isinstance(part, dict):
                watched.append(part.get("x-clm-watched"))
                limited.extend(part.get("enum", ()) if isinstance(part.get("enum"), list) else ())
                for inner in part.values():
                    look(inner)
            elif isinstance(part, list):
                for inner in part:
                    look(inner)

        look(described.document)
        assert ["BTCUSDT"] in watched
        assert ["1h"] in watched
        assert not {"BTCUSDT", "1h"} & set(limited)
