"""`make bench-serving`: forecasts over HTTP against a constant FastAPI route and a plain one around a model.

All of them by one uvicorn worker on loopback, asked by the same client in the same run, in turns. Exit code 1
when a limit is missed.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from benchmarks.rehearsal import ended, serve, stage
from clm.telemetry import set_up_logging

#: What must be reached: requests a second over the constant route's, over the plain route's; p99 over p50.
_OF_CONSTANT, _OF_PLAIN, _TAIL = 0.6, 2.0, 3.0

_CONSTANT = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/constant")
async def constant():
    return {"forecast": 0.00012, "direction": "up", "usable": True}
"""
#: What a team writes first: features as JSON, the scikit-learn wrapper, a DataFrame of one row.
_PLAIN = """
import numpy as np, pandas as pd, xgboost as xgb
from fastapi import FastAPI
from pydantic import BaseModel
rng = np.random.default_rng(0)
names = [f"f{k}" for k in range(147)]
model = xgb.XGBRegressor(n_estimators=50, max_depth=3, n_jobs=1)
model.fit(rng.normal(size=(2000, 147)), rng.normal(size=2000))
app = FastAPI()
row = pd.DataFrame(rng.normal(size=(1, 147)), columns=names)
@app.get("/plain")
def plain():
    return {"forecast": float(model.predict(row)[0])}
"""


class Connection:
    """One kept-alive connection that asks the same again and again."""

    def __init__(self, url: str, path: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()

    def ask(self) -> float:
        """Seconds one answer took. Raises RuntimeError for any other than 200."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        seen = self._socket.recv(65_536)
        head, _, body = seen.partition(b"\r\n\r\n")
        if not seen.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(seen[:300].decode())
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(65_536)
        return time.perf_counter() - began


@contextmanager
def app_of(code: str, folder: Path, name: str) -> Iterator[str]:
    """A plain FastAPI app under uvicorn, one worker; its address."""
    (folder / f"{name}.py").write_text(code)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("--port", str(port), "--no-access-log", "--log-level", "error")
    process = subprocess.Popen([sys.executable, "-m", "uvicorn", f"{name}:app", *options], cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: httpx.get(f"{url}/openapi.json").status_code == 200)
        yield url
    finally:
        process.kill()
        process.wait()


def _until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError("it never came up")


def rounds(asked: dict[str, Connection], seconds: float, turns: int) -> dict[str, list[float]]:
    """Latencies per name, each asked for `seconds` in each of so many turns."""
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(turns):
        for name, connection in asked.items():
            for _ in range(20):
                connection.ask()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                taken[name].append(connection.ask())
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    set_up_logging("error")
    with tempfile.TemporaryDirectory() as scratch, stage(Path(scratch)) as on:
        folder = Path(scratch)
        service = serve(on)
        run = httpx.post(f"{service.url}/api/clm/retrain", json={"force": True}).json()["run_id"]
        with on.application() as application:
            ended(application, run)
        _until(lambda: httpx.get(f"{service.url}/api/clm/predict").json()["forecast"] is not None)
        with app_of(_CONSTANT, folder, "constant") as constant, app_of(_PLAIN, folder, "plain") as plain:
            taken = rounds(
                {
                    "constant route": Connection(constant, "/constant"),
                    "plain XGBRegressor route": Connection(plain, "/plain"),
                    "forecast, one model": Connection(service.url, "/api/clm/predict?model=lightgbm"),
                    "forecast, ensemble": Connection(service.url, "/api/clm/predict"),
                },
                given.seconds, given.turns,
            )  # fmt: skip
        service.stop(60)
    missed = False
    base, naive = (1 / np.mean(taken[name]) for name in ("constant route", "plain XGBRegressor route"))
    columns = ("req/s", "of constant", "of plain", "p50 ms", "p99 ms", "p99/p50")
    print(f"{'':<26}" + "".join(f"{column:>13}" for column in columns))
    for name, seconds in taken.items():
        rate, (p50, p99) = 1 / np.mean(seconds), np.quantile(seconds, (0.5, 0.99)) * 1e3
        figures = (rate / base, rate / naive, p50, p99, p99 / p50)
        print(f"{name:<26}{rate:>13.0f}" + "".join(f"{figure:>13.2f}" for figure in figures))
        if name.startswith("forecast"):
            missed |= bool(rate / base < _OF_CONSTANT or rate / naive < _OF_PLAIN or p99 / p50 > _TAIL)
    print(f"must be: ≥ {_OF_CONSTANT:g} of constant, ≥ {_OF_PLAIN:g} of plain, p99 ≤ {_TAIL:g} × p50")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
