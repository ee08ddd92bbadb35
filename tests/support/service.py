"""An application against the local exchange, small enough that a run takes a second or two."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clm.bootstrap import Application
from clm.core.domain import Run
from clm.exchange.server import ExchangeServer
from clm.settings import Settings
from support.exchange import serving, simulated


def settings_for(exchange: ExchangeServer, folder: Path, **more: Any) -> Settings:
    """Basic features, 90 days, LightGBM and XGBoost with a few trees, everything below `folder`."""
    few = {"num_trees": 5, "min_data_in_leaf": 100}
    given: dict[str, Any] = {
        "binance_url": exchange.url, "db_url": f"sqlite:///{folder}/clm.db", "model_dir": folder / "models",
        "data_dir": folder / "data", "training_lookback_days": 90, "features": "basic", "schedule": "off",
        "training_params": {"xgboost": few, "lightgbm": few}, "log_level": "error",
    }  # fmt: skip
    return Settings.load(**{**given, **more})


@contextmanager
def running_service(folder: Path, **more: Any) -> Iterator[tuple[Application, ExchangeServer]]:
    """The application and its exchange, both closed afterwards."""
    with serving(simulated()) as exchange:
        with Application(settings_for(exchange, folder, **more), interactive=True) as application:
            yield application, exchange


def wait_for_end(application: Application, run_id: str, seconds: float = 60) -> Run:
    """The run once it is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run = application.runs.get(run_id)
        if run.state.over:
            return run
        time.sleep(0.05)
    raise AssertionError(f"run {run_id} is still {run.state} after {seconds} s: {run.progress}")
