"""What the OpenAPI document can say of this service alone: its models, its series, and what leads where.

The routes take any text and look it up; what they would find is known only once the settings are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from clm.bootstrap import Application
from clm.core import plugins
from clm.core.ensembles import ENSEMBLE

#: Operation → link → the operation it leads to and where that one's parameters are found.
LINKS: Mapping[tuple[str, str], Mapping[str, tuple[tuple[str, str], Mapping[str, str]]]] = {
    ("post", "/api/clm/retrain"): {
        "run": (("get", "/api/clm/runs/{run_id}"), {"run_id": "$response.body#/run_id"}),
        "cancel": (("post", "/api/clm/runs/{run_id}/cancel"), {"run_id": "$response.body#/run_id"}),
    },
    ("get", "/api/clm/runs"): {
        "run": (("get", "/api/clm/runs/{run_id}"), {"run_id": "$response.body#/0/run_id"}),
        "cancel": (("post", "/api/clm/runs/{run_id}/cancel"), {"run_id": "$response.body#/0/run_id"}),
    },
    ("get", "/api/clm/history/{model_type}"): {
        "promote": (
            ("post", "/api/clm/promote/{model_type}/{version}"),
            {"model_type": "$response.body#/model_type", "version": "$response.body#/versions/0/version"},
        ),
        "roll_back": (
            ("post", "/api/clm/rollback/{model_type}"), {"model_type": "$response.body#/model_type"}
        ),
    },
    ("post", "/api/clm/promote/{model_type}/{version}"): {
        "roll_back": (
            ("post", "/api/clm/rollback/{model_type}"), {"model_type": "$response.body#/model_type"}
        ),
        "history": (("get", "/api/clm/history/{model_type}"), {"model_type": "$response.body#/model_type"}),
    },
    ("get", "/api/clm/decisions"): {
        "decision": (("get", "/api/clm/decisions/{decision_id}"), {"decision_id": "$response.body#/0/id"}),
    },
}  # fmt: skip


def tell_of(app: FastAPI, application: Application) -> None:
    """From now on the app's document is about `application`."""
    general = app.openapi

    def about_this_service() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = described(general(), application)
        return app.openapi_schema

    app.openapi = about_this_service  # type: ignore[method-assign]  # the way the framework documents


def described(general: Mapping[str, Any], application: Application) -> dict[str, Any]:
    """The document with the values that are known here, and with links."""
    document: dict[str, Any] = deepcopy(dict(general))
    symbols = sorted({series.symbol for series in application.series})
    intervals = sorted({series.interval for series in application.series})
    forecasters = [*application.models, *([ENSEMBLE] if len(application.models) > 1 else [])]
    known = {
        "symbol": symbols, "interval": intervals, "model_type": list(plugins.known_model_types()),
        "model": list(plugins.known_model_types()),
    }  # fmt: skip
    for path, operations in document["paths"].items():
        here = {**known, "model": forecasters} if path == "/api/clm/predict" else known
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _limit(parameter, here)
    bodies = document["components"]["schemas"]
    _limit_items(bodies["RetrainRequest"], models=list(plugins.trainable_model_types()), symbols=symbols)
    asked = bodies["ForecastRequest"]["properties"]
    for name, values in {"symbol": symbols, "interval": intervals, "model": forecasters}.items():
        _text_of(asked[name])["enum"] = values
    _limit_items(bodies["ForecastRequest"], symbols=symbols)
    for (method, path), links in LINKS.items():
        _link(document["paths"], document["paths"][path][method], links)
    return document


def _limit(parameter: dict[str, Any], known: Mapping[str, Sequence[str]]) -> None:
    """A parameter that is left out is not null: it has no other form than its text's."""
    schema = parameter["schema"]
    if "anyOf" in schema:
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        parameter["schema"] = schema = {**rest, **_text_of(schema)}
    if parameter["name"] in known:
        schema["enum"] = list(known[parameter["name"]])


def _limit_items(body: dict[str, Any], **known: Sequence[str]) -> None:
    for name, values in known.items():
        items = next(one for one in body["properties"][name]["anyOf"] if one["type"] == "array")["items"]
        items["enum"] = list(values)


def _text_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a schema that allows null, the part that does not."""
    found: dict[str, Any] = next(one for one in schema["anyOf"] if one["type"] != "null")
    return found


def _link(
    paths: Mapping[str, Any],
    operation: dict[str, Any],
    links: Mapping[str, tuple[tuple[str, str], Mapping[str, str]]],
) -> None:
    answers = operation["responses"]
    good = answers.get("202", answers.get("200"))
    good["links"] = {
        name: {"operationId": paths[path][method]["operationId"], "parameters": dict(parameters)}
        for name, ((method, path), parameters) in links.items()
    }
