"""`make bench-serving`: forecasts over HTTP against a constant FastAPI route and a plain one around a model.

All of them by one uvicorn worker on loopback, asked over one connection in the same run, in turns. With
`--peers` (`make bench-peers`) also MLServer, `mlflow models serve` and BentoML with the same booster, in
environments of their own. Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import xgboost as xgb

from benchmarks import peers
from benchmarks.asking import Connection, free_port, rounds, until, until_it_answers
from benchmarks.rehearsal import ended, serve, stage
from clm.bootstrap import Application
from clm.telemetry import set_up_logging
from clm.training.seal import unseal

#: What must be reached: requests a second over those of others; p99 over p50.
_OF_OTHERS = {
    "constant route": 0.6, "plain XGBRegressor": 2.0, "MLServer": 4.0, "mlflow models serve": 5.0,
    "BentoML": 5.0,
}  # fmt: skip
_TAIL = 3.0

_CONSTANT = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/constant")
async def constant():
    return {"forecast": 0.00012, "direction": "up", "usable": True}
"""
#: What a team writes first: the scikit-learn wrapper and a row, kept ready.
_PLAIN = """
import numpy as np, xgboost as xgb
from fastapi import FastAPI
model = xgb.XGBRegressor(n_jobs=1)
model.load_model("model.json")
row = np.load("row.npy")
app = FastAPI()
@app.get("/plain")
def plain():
    return {"forecast": float(model.predict(row)[0])}
"""


@contextmanager
def app_of(code: str, folder: Path, name: str) -> Iterator[str]:
    """A plain FastAPI app under uvicorn, one worker; its address."""
    (folder / f"{name}.py").write_text(code)
    port = free_port()
    options = ("--port", str(port), "--no-access-log", "--log-level", "error")
    process = subprocess.Popen([sys.executable, "-m", "uvicorn", f"{name}:app", *options], cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        until_it_answers(f"{url}/openapi.json")
        yield url
    finally:
        process.kill()
        process.wait()


def extracted(application: Application, folder: Path) -> list[float]:
    """Writes the XGBoost champion as `model.json` and a row for it as `row.npy`; answers the row."""
    registry = application.registry
    champion = registry.get_active("xgboost")
    assert champion is not None
    loaded = registry.load_model(champion)
    booster = xgb.Booster()
    booster.load_model(bytearray(unseal(loaded.to_bytes(), champion.model_type)))
    booster.save_model(folder / "model.json")
    candles = application.data_client(application.series[0]).load_recent_data(30)
    row = application.feature_engineer.newest(candles)
    np.save(folder / "row.npy", row[None, :])
    return [float(value) for value in row]


@dataclass(frozen=True, slots=True)
class Row:
    """Of one who was asked. rate: requests a second, the median of the turns; p50, p99: ms. times: its rate
    over that of others by name, medians over the turns, each within its turn.
    """

    name: str
    rate: float
    p50: float
    p99: float
    times: Mapping[str, float]

    @property
    def tail(self) -> float:
        """p99 over p50."""
        return self.p99 / self.p50

    @property
    def missed(self) -> bool:
        """Whether it is a forecast, and a limit is missed."""
        slow = any(ratio < _OF_OTHERS[other] for other, ratio in self.times.items())
        return self.name.startswith("forecast") and (self.tail > _TAIL or slow)


def rows(taken: Mapping[str, list[list[float]]]) -> list[Row]:
    """taken: seconds of each answer, by name and turn."""
    rates = {name: np.array([1 / np.mean(turn) for turn in turns]) for name, turns in taken.items()}
    others = [name for name in _OF_OTHERS if name in taken]
    found = []
    for name, turns in taken.items():
        p50, p99 = np.quantile(np.concatenate(turns), (0.5, 0.99)) * 1e3
        times = {other: float(np.median(rates[name] / rates[other])) for other in others}
        found.append(Row(name, float(np.median(rates[name])), float(p50), float(p99), times))
    return found


def told(found: Sequence[Row]) -> bool:
    """Prints the table; whether a limit was missed."""
    others = list(found[0].times)
    print(
        f"{'':<24}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'p99/p50':>9}"
        + "".join(f"{f'÷ {o}':>24}" for o in others)
    )
    for row in found:
        print(f"{row.name:<24}{row.rate:>8.0f}{row.p50:>8.2f}{row.p99:>8.2f}{row.tail:>9.2f}"
              + "".join(f"{ratio:>24.2f}" for ratio in row.times.values()))  # fmt: skip
    limits = ", ".join(f"≥ {_OF_OTHERS[other]:g} × {other}" for other in others)
    print(f"a forecast must be: {limits}; p99 ≤ {_TAIL:g} × p50")
    return any(row.missed for row in found)


def measured(seconds: float = 1.0, turns: int = 12, *, with_peers: bool = False) -> list[Row]:
    """Everybody asked, so long in each of so many turns. with_peers: those that are installed for it too."""
    set_up_logging("error")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Models and features as anybody has them who sets nothing.
        on = stack.enter_context(stage(folder, features="advanced", training_params={}))
        service = serve(on)
        stack.callback(service.stop, 60)
        run = httpx.post(f"{service.url}/api/clm/retrain", json={"force": True}).json()["run_id"]
        with on.application() as application:
            ended(application, run)
            row = extracted(application, folder)
        until(lambda: httpx.get(f"{service.url}/api/clm/predict").json()["forecast"] is not None)
        constant = stack.enter_context(app_of(_CONSTANT, folder, "constant"))
        plain = stack.enter_context(app_of(_PLAIN, folder, "plain"))
        asked = {
            "forecast, one model": Connection(service.url, "/api/clm/predict?model=xgboost"),
            "forecast, ensemble": Connection(service.url, "/api/clm/predict"),
            "constant route": Connection(constant, "/constant"),
            "plain XGBRegressor": Connection(plain, "/plain"),
        }
        for peer in peers.PEERS if with_peers else ():
            asked[peer.name] = stack.enter_context(peers.serving(peer, folder / "model.json", row, folder))
        return rows(rounds(asked, seconds, turns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--peers", action="store_true", help="install and ask them too")
    given = parser.parse_args()
    return int(told(measured(given.seconds, given.turns, with_peers=given.peers)))


if __name__ == "__main__":
    sys.exit(main())
