"""Servers of models that others wrote, each in an environment of its own: the same booster, their defaults.

What is installed (1 to 2 GB each) stays in `.venv/peers` for the next time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.asking import Connection, free_port, until_it_answers

_ENVIRONMENTS = Path(".venv/peers")
_QUIET = {
    "MLFLOW_DISABLE_ENV_CREATION": "true", "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
}  # fmt: skip

_SAVE_MLFLOW = """
import sys, mlflow.xgboost, xgboost
booster = xgboost.Booster()
booster.load_model(sys.argv[1])
mlflow.xgboost.save_model(booster, sys.argv[2])
"""
_BENTO = """
import bentoml, numpy as np, xgboost
@bentoml.service
class Forecast:
    def __init__(self):
        self.model = xgboost.XGBRegressor()
        self.model.load_model("model.json")
    @bentoml.api
    def predict(self, row: list[float]) -> float:
        return float(self.model.predict(np.array([row], dtype=np.float32))[0])
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """needs: what pip installs. start: (bin folder, folder with model.json, port) → command line.

    ready, path: asked until it answers; asked for a forecast. body: of one row.
    """

    name: str
    needs: tuple[str, ...]
    start: Callable[[Path, Path, int], list[str]]
    ready: str
    path: str
    body: Callable[[Sequence[float]], object]


def _mlserver(bin_: Path, folder: Path, port: int) -> list[str]:
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({**settings, "debug": False}))
    model = {
        "name": "forecast", "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": "./model.json"},
    }  # fmt: skip
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(bin_ / "mlserver"), "start", "."]


def _mlflow(bin_: Path, folder: Path, port: int) -> list[str]:
    saving = [str(bin_ / "python"), "-c", _SAVE_MLFLOW, "model.json", "saved"]
    subprocess.run(saving, cwd=folder, check=True, capture_output=True, env={**os.environ, **_QUIET})
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [str(bin_ / "mlflow"), "models", "serve", "--model-uri", "saved", *options]


def _bentoml(bin_: Path, folder: Path, port: int) -> list[str]:
    (folder / "service.py").write_text(_BENTO)
    return [str(bin_ / "bentoml"), "serve", "service:Forecast", "--host", "127.0.0.1", "--port", str(port)]


PEERS = (
    Peer(
        # Its workers do not start under uvloop 0.22.
        "MLServer", ("mlserver", "mlserver-xgboost", "uvloop<0.22"), _mlserver, "/v2/models/forecast/ready",
        "/v2/models/forecast/infer",
        lambda row: {
            "inputs": [{"name": "x", "shape": [1, len(row)], "datatype": "FP32", "data": list(row)}]
        },
    ),
    Peer(
        "mlflow models serve", ("mlflow", "xgboost-cpu", "scikit-learn"), _mlflow, "/ping", "/invocations",
        lambda row: {"inputs": [list(row)]},
    ),
    Peer(
        "BentoML", ("bentoml", "xgboost-cpu", "scikit-learn"), _bentoml, "/readyz", "/predict",
        lambda row: {"row": list(row)},
    ),
)  # fmt: skip


@contextmanager
def serving(peer: Peer, model: Path, row: Sequence[float], scratch: Path) -> Iterator[Connection]:
    """The peer serving the booster of `model` (XGBoost's JSON), and a connection that asks it for `row`."""
    bin_ = environment_with(peer.name.replace(" ", "-"), peer.needs)
    folder = scratch / peer.name.replace(" ", "-")
    folder.mkdir()
    (folder / "model.json").write_bytes(model.read_bytes())
    port = free_port()
    path = f"{bin_}:{os.environ['PATH']}"
    environment = {**os.environ, **_QUIET, "PATH": path, "BENTOML_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            peer.start(bin_, folder, port), cwd=folder, stdout=log, stderr=log, env=environment,
            start_new_session=True,
        )  # fmt: skip
    try:
        until_it_answers(f"http://127.0.0.1:{port}{peer.ready}", 120)
        yield Connection(f"http://127.0.0.1:{port}", peer.path, json.dumps(peer.body(row)).encode())
    except RuntimeError as error:
        raise RuntimeError(f"{peer.name}: {error}\n{(folder / 'log').read_text()[-1000:]}") from error
    finally:
        # Servers of theirs have workers of their own, in sessions of their own.
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        process.wait()
        psutil.wait_procs(family, timeout=10)


def environment_with(name: str, needs: Sequence[str]) -> Path:
    """The bin folder of an environment of its own in which pip has installed `needs`, once."""
    home = (_ENVIRONMENTS / name).absolute()
    mark = home / ".installed"
    if not mark.exists():
        print(f"installing {', '.join(needs)} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *needs], check=True)
        mark.touch()
    return home / "bin"
