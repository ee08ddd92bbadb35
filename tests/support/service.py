"""An application against the local exchange, small enough that a run takes a second or two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from clm.bootstrap import Application
from clm.core.runs import Run
from clm.exchange.server import ExchangeServer
from clm.jobs.supervisor import to_be_resumed
from clm.settings import Settings
from tests.support.databases import sqlite_in
from tests.support.exchange import serving, simulated
from tests.support.waiting import eventually


def settings_for(exchange: ExchangeServer, folder: Path, **more: Any) -> Settings:
    """Basic features, 90 days, LightGBM and XGBoost with a few trees, everything below `folder`."""
    few = {"num_trees": 5, "min_data_in_leaf": 100}
    given: dict[str, Any] = {
        "binance_url": exchange.url, "model_dir": folder / "models",
        "data_dir": folder / "data", "training_lookback_days": 90, "features": "basic", "schedule": "off",
        "live_shadow": False, "shutdown_grace_seconds": 0, "keep_versions": 0,
        "training_params": {"xgboost": few, "lightgbm": few}, "log_level": "error",
        "worker_niceness": 0, "executor": "inline",
    }  # fmt: skip
    if "db_url" not in more:
        given["db_url"] = sqlite_in(folder)
    return Settings.load(**{**given, **more})


@contextmanager
def running_service(folder: Path, **more: Any) -> Iterator[tuple[Application, ExchangeServer]]:
    """The application and its exchange, both closed afterwards."""
    with serving(simulated()) as exchange:
        with Application(settings_for(exchange, folder, **more), interactive=True) as application:
            yield application, exchange


def wait_for_end(application: Application, run_id: str) -> Run:
    """The run once it is over."""

    def ended() -> Run | None:
        run = application.runs.get(run_id)
        return run if run.state.over and not to_be_resumed(run) else None

    return eventually(ended, lambda: f"the end of {application.runs.get(run_id)}")


def caller(
    app: FastAPI,
    key: str | None = None,
    *,
    address: str = "127.0.0.1",
    host: str = "127.0.0.1:8000",
    **headers: str,
) -> TestClient:
    """Somebody who asks over a network: from an address, under the name they know the service by."""
    if key is not None:
        headers["x-api-key"] = key
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return TestClient(
        app, f"http://{host}", headers=named, client=(address, 50_000), follow_redirects=False,
        raise_server_exceptions=False,
    )  # fmt: skip
