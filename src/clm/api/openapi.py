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

Operation = tuple[str, str]
#: The operation a link leads to, where its parameters are found, and where its body is, if it takes one.
Link = tuple[Operation, Mapping[str, str], Mapping[str, Any] | None]

_RUN, _EXPERIMENT = "/api/clm/runs/{run_id}", "/api/clm/experiments/{experiment_id}"
_HISTORY, _DECISION = "/api/clm/history/{model_type}", "/api/clm/decisions/{decision_id}"
_PROMOTE, _ROLLBACK = "/api/clm/promote/{model_type}/{version}", "/api/clm/rollback/{model_type}"
_EXPLAIN = "/api/clm/explain/{model_type}"


def _to(method: str, path: str, _body: Mapping[str, Any] | None = None, /, **parameters: str) -> Link:
    """parameters: name → JSON pointer into the answer."""
    found = {name: f"$response.body#/{pointer}" for name, pointer in parameters.items()}
    return (method, path), found, _body


def _runs(pointer: str) -> Mapping[str, Link]:
    return {"run": _to("get", _RUN, run_id=pointer), "cancel": _to("post", f"{_RUN}/cancel", run_id=pointer)}


def _experiments(pointer: str) -> Mapping[str, Link]:
    return {
        "experiment": _to("get", _EXPERIMENT, experiment_id=pointer),
        "stop": _to("post", f"{_EXPERIMENT}/stop", experiment_id=pointer),
    }


#: The symbols or intervals that are watched now; and the body that a link is followed with.
WATCHED, BODY = "x-clm-watched", "x-clm-request-body"
#: Where an answer names what it is about: a history of versions, and one version.
_NEWEST = {
    "model_type": "model_type", "symbol": "versions/0/symbol", "interval": "versions/0/interval",
}  # fmt: skip
_VERSION = {"model_type": "model_type", "symbol": "symbol", "interval": "interval"}
#: The two newest versions, a week long.
_COMPARISON = {
    "model_type": "$response.body#/model_type",
    "versions": ["$response.body#/versions/0/version", "$response.body#/versions/1/version"],
    "symbol": "$response.body#/versions/0/symbol", "interval": "$response.body#/versions/0/interval",
    "split": 0.5, "alpha": 0.05, "start": None, "end": None, "days": 7,
}  # fmt: skip
#: What can be asked with an answer in hand: operation → name of the link → the link.
LINKS: Mapping[Operation, Mapping[str, Link]] = {
    ("post", "/api/clm/retrain"): _runs("run_id"),
    ("get", "/api/clm/runs"): _runs("0/run_id"),
    ("get", "/api/clm/status"): _runs("run_id"),
    ("post", f"{_RUN}/cancel"): {"run": _to("get", _RUN, run_id="run_id")},
    ("get", _HISTORY): {
        "promote": _to("post", _PROMOTE, **_NEWEST, version="versions/0/version"),
        "explain": _to("get", _EXPLAIN, **_NEWEST, version="versions/0/version"),
        "roll_back": _to("post", _ROLLBACK, **_NEWEST),
        "compare": _to("post", "/api/clm/experiments", _COMPARISON),
    },
    ("post", _PROMOTE): {
        "roll_back": _to("post", _ROLLBACK, **_VERSION),
        "history": _to("get", _HISTORY, **_VERSION),
        "explain": _to("get", _EXPLAIN, **_VERSION),
    },
    ("post", _ROLLBACK): {"history": _to("get", _HISTORY, **_VERSION)},
    ("get", "/api/clm/shadow"): {
        "history": _to("get", _HISTORY, model_type="0/model_type", symbol="0/symbol", interval="0/interval"),
    },
    ("get", "/api/clm/trials"): {"history": _to("get", _HISTORY, model_type="0/model_type")},
    ("get", "/api/clm/decisions"): {"decision": _to("get", _DECISION, decision_id="0/id")},
    ("get", "/api/clm/experiments"): _experiments("0/experiment_id"),
    ("post", "/api/clm/experiments"): _experiments("experiment_id"),
    ("get", _EXPERIMENT): {"stop": _to("post", f"{_EXPERIMENT}/stop", experiment_id="experiment_id")},
    ("post", f"{_EXPERIMENT}/stop"): {"experiment": _to("get", _EXPERIMENT, experiment_id="experiment_id")},
}


def tell_of(app: FastAPI, application: Application) -> None:
    """From now on the app's document is about `application`."""
    general = app.openapi

    told: list[tuple[object, dict[str, Any]]] = []

    def about_this_service() -> dict[str, Any]:
        every = application.series
        if not told or told[0][0] != every:
            app.openapi_schema = None
            told[:] = [(every, described(general(), application))]
        return told[0][1]

    app.openapi = about_this_service  # type: ignore[method-assign]  # the way the framework documents


def described(general: Mapping[str, Any], application: Application) -> dict[str, Any]:
    """The document with the values that are known here, and with links."""
    document: dict[str, Any] = deepcopy(dict(general))
    # What is watched changes while the service runs: a client that was made from the document must not refuse
    # what came later. What there is now stands beside it, as examples and under a name of ours.
    symbols = sorted({series.symbol for series in application.series})
    intervals = sorted({series.interval for series in application.series})
    forecasters = [*application.models, *([ENSEMBLE] if len(application.models) > 1 else [])]
    known = {
        "model_type": list(plugins.known_model_types()), "model": list(plugins.known_model_types()),
    }  # fmt: skip
    watched = {"symbol": symbols, "interval": intervals}
    for path, operations in document["paths"].items():
        here = {**known, "model": forecasters} if path == "/api/clm/predict" else known
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                _limit(parameter, here, watched)
    bodies = document["components"]["schemas"]
    _limit_items(bodies["RetrainRequest"], models=list(plugins.trainable_model_types()))
    for name, each in (("symbols", symbols), ("intervals", intervals)):
        _tell(_items(bodies["RetrainRequest"], name), each)
    _tell(_items(bodies["ForecastRequest"], "symbols"), symbols)
    _limit_fields(bodies["ForecastRequest"], model=forecasters)
    _limit_fields(bodies["ExperimentRequest"], model_type=list(application.models))
    for body in (bodies["ForecastRequest"], bodies["ExperimentRequest"]):
        for name, each in watched.items():
            field = body["properties"][name]
            _tell(_text_of(field) if "anyOf" in field else field, each)
    for (method, path), links in LINKS.items():
        _link(document["paths"], document["paths"][path][method], links)
    return document


def _limit(
    parameter: dict[str, Any], known: Mapping[str, Sequence[str]], watched: Mapping[str, Sequence[str]]
) -> None:
    """A parameter that is left out is not null: it has no other form than its text's."""
    schema = parameter["schema"]
    if "anyOf" in schema:
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        parameter["schema"] = schema = {**rest, **_text_of(schema)}
    if parameter["name"] in known:
        schema["enum"] = list(known[parameter["name"]])
    if parameter["name"] in watched:
        _tell(schema, watched[parameter["name"]])


def _tell(schema: dict[str, Any], values: Sequence[str]) -> None:
    """What there is now, as a hint and no limit."""
    schema["examples"], schema[WATCHED] = list(values), list(values)


def _limit_items(body: dict[str, Any], **known: Sequence[str]) -> None:
    for name, values in known.items():
        _items(body, name)["enum"] = list(values)


def _items(body: dict[str, Any], name: str) -> dict[str, Any]:
    """What a list that may be null holds."""
    every = next(one for one in body["properties"][name]["anyOf"] if one["type"] == "array")
    items: dict[str, Any] = every["items"]
    return items


def _limit_fields(body: dict[str, Any], **known: Sequence[str]) -> None:
    for name, values in known.items():
        field = body["properties"][name]
        (_text_of(field) if "anyOf" in field else field)["enum"] = list(values)


def _text_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a schema that allows null, the part that does not."""
    found: dict[str, Any] = next(one for one in schema["anyOf"] if one.get("type") != "null")
    return found


def _link(paths: Mapping[str, Any], operation: dict[str, Any], links: Mapping[str, Link]) -> None:
    answers = operation["responses"]
    good = next(answers[status] for status in ("201", "202", "200") if status in answers)
    # A body is told under a name of ours: generators take a link's `requestBody` for text, or refuse it.
    good["links"] = {
        name: {
            "operationId": paths[path][method]["operationId"], "parameters": dict(parameters),
            **({} if body is None else {BODY: dict(body)}),
        }
        for name, ((method, path), parameters, body) in links.items()
    }  # fmt: skip
