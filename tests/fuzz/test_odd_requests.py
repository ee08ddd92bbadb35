"""Requests that no schema draws: numbers JSON has no form for, times beyond time, candles from two clocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.core.runs import RunRequest
from tests.support.service import running_service

PROBLEM = "application/problem+json"
HOUR = timedelta(hours=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
CANDLE = {
    "open": 1, "high": 1, "low": 1, "close": 1,
    "volume": 0, "quote_volume": 0, "taker_buy_base": 0, "trades": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running_service(tmp_path_factory.mktemp("odd"), rate_limit_per_minute=0) as (application, _):
        application.run(RunRequest(force=True))
        with TestClient(create_app(application), raise_server_exceptions=False) as client:
            yield client


def _post(client: TestClient, path: str, body: str | bytes) -> Any:
    return client.post(path, content=body, headers={"content-type": "application/json"})


def _candles(client: TestClient, differing: Callable[[int], dict[str, Any]], count: int = 200) -> Any:
    rows = [{"open_time": (START + k * HOUR).isoformat(), **CANDLE, **differing(k)} for k in range(count)]
    return _post(client, "/api/clm/predict", json.dumps({"candles": rows}))


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ('"split": NaN', 422, "a share from 0 to 1"),
        ('"alpha": Infinity', 422, "below 0.5"),
        ('"alpha": 5e-324', 422, "from 1e-09 on"),
        ('"days": 1e400', 422, "at most 3653"),
        ('"start": "0001-01-01T00:00:00+14:00"', 422, "years 1 to 9999"),
        ('"start": "9999-12-31T23:59:59-14:00"', 422, "years 1 to 9999"),
        ('"end": "0001-01-01T00:00:00+14:00"', 422, "one of the two"),
        ('"days": null, "end": "0001-01-01T00:00:00+14:00"', 422, "years 1 to 9999"),
        ('"versions": ["\\ud800", "v2"]', 422, "versions"),
        ('"versions": ["a/b", "v2"]', 422, "versions"),
        ('"model_type": "\\u0000"', 422, "those of BTCUSDT 1h"),
        ('"split": ' + "9" * 5000, 400, "parsing the body"),
    ],
)
def test_an_experiment_of_odd_values_is_refused_with_what_would_do(
    client: TestClient, more: str, status: int, said: str
) -> None:
    plain = '{"model_type": "xgboost", "versions": ["v1", "v2"], "days": 7, '

    answer = _post(client, "/api/clm/experiments", plain + more + "}")

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("body", ["[" * 100_000, b"\xff\xfe", "null", "[]", '"x"', "{", ""])
@pytest.mark.parametrize("path", ["/api/clm/experiments", "/api/clm/predict"])
def test_a_body_that_is_no_object_is_refused(client: TestClient, path: str, body: str | bytes) -> None:
    answer = _post(client, path, body)

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == PROBLEM


class TestOwnCandles:
    def test_across_a_change_of_the_clocks_are_the_same_candles(self, client: TestClient) -> None:
        """They carry the offset of their own season."""
        seasons = [timezone(HOUR), timezone(2 * HOUR)]

        plain = _candles(client, lambda k: {})
        mixed = _candles(
            client, lambda k: {"open_time": (START + k * HOUR).astimezone(seasons[k >= 90]).isoformat()}
        )

        assert (plain.status_code, mixed.status_code) == (200, 200)
        assert mixed.json()["candle_open_time"] == plain.json()["candle_open_time"]
        assert mixed.json()["forecast"] == plain.json()["forecast"]

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"volume": 1e308}, "too large or too small"),
            ({"high": 0.5}, "high is below open or close"),
            ({"open_time": "1500-01-01T00:00:00Z"}, "before 1970"),
            ({"open_time": "0001-01-01T00:00:00+14:00"}, "before 1970"),
            ({"open_time": "9999-12-31T23:00:00-14:00"}, "after 2261"),
            ({"close": float("nan")}, "finite number"),
            ({"close": 0}, "greater than 0"),
        ],
    )
    def test_that_are_none_are_the_callers_mistake_and_not_the_exchanges(
        self, client: TestClient, wrong: dict[str, Any], said: str
    ) -> None:
        answer = _candles(client, lambda k: wrong if k > 100 else {})

        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
        assert "candles" in answer.json()["detail"]
        assert said in answer.json()["detail"]

    def test_of_prices_beyond_all_reason_are_answered_in_json(self, client: TestClient) -> None:
        most = dict.fromkeys(("open", "high", "low", "close"), 1.7976931348623157e308)

        answer = _candles(client, lambda k: most)

        assert answer.status_code in (200, 422)
        json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    @pytest.mark.parametrize("other", ["symbol", "candles"])
    def test_or_one_symbol_and_several_are_not_asked_for_at_once(
        self, client: TestClient, other: str
    ) -> None:
        row = {"open_time": START.isoformat(), **CANDLE}
        body = {"symbols": ["BTCUSDT"], "symbol": "BTCUSDT", "candles": [row, row]}

        answer = client.post("/api/clm/predict", json={name: body[name] for name in ("symbols", other)})

        assert (answer.status_code, answer.json()["field"]) == (422, f"symbols, {other}")


@pytest.mark.parametrize(
    "path",
    [
        "experiments?model=prophet", "experiments?symbol=", "experiments/%00", "explain/xgboost?version=%00",
        "explain/xgboost?against=a/b", "predict?caller=%00", "predict?caller=%E2%80%AE",
        "predict?caller=", "history/%F0%9F%98%80",
        "decisions?model=", "runs?limit=" + "9" * 5000,
    ],
)  # fmt: skip
def test_a_name_there_cannot_be_is_refused_before_it_is_looked_up(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/clm/{path}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
