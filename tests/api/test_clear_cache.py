"""`DELETE /clear-cache`: neither candles nor models of before are in memory, and whoever asks is answered."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from clm.api.app import create_app
from clm.core.runs import RunRequest
from clm.market.stores import candle_store
from clm.training.boosting import LightGBMModel, XGBoostModel
from tests.support.service import running_service
from tests.support.waiting import eventually


def _in_memory() -> list[Any]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, LightGBMModel | XGBoostModel)]


def test_no_model_of_before_is_in_memory_and_the_same_forecasts_are_answered_by_others(
    tmp_path: Path,
) -> None:
    """Whatever part of the service held them: serving, explaining, training, experiments, health."""
    others = {id(found) for found in _in_memory()}
    with running_service(tmp_path, live_shadow=False) as (application, _):
        assert application.run(RunRequest()).error is None
        client = TestClient(
            create_app(application), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
        )
        with client:
            before = _answers(client)
            assert client.get("/health/ready").status_code in (200, 503)
            held = [weakref.ref(found) for found in _in_memory() if id(found) not in others]
            assert len(held) >= 2

            cleared = client.delete("/api/clm/clear-cache")

            assert (cleared.status_code, cleared.json()["status"]) == (200, "cleared")
            eventually(
                lambda: not gc.collect() or all(found() is None for found in held), "the end of all models"
            )
            assert [found for found in held if found() is not None] == []
            assert _answers(client) == before
        assert candle_store(application.settings.data_dir).coverage(application.series[0]).spans


def _answers(client: TestClient) -> list[Any]:
    """Forecasts, and what they are made of."""

    def forecasts() -> list[Any] | None:
        found = [client.get("/api/clm/predict", params={"model": m}).json() for m in ("xgboost", "lightgbm")]
        return found if all(answer["forecast"] is not None for answer in found) else None

    made = eventually(forecasts, "forecasts")
    explained = client.get("/api/clm/explain/lightgbm").json()
    return [*(answer["forecast"] for answer in made), explained["version"], str(explained["forecast"])]
