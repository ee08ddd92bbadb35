"""N-HiTS and PatchTST: learn what can be learnt, in processes of their own that leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from clm.core.ambit import heard_by
from clm.core.domain import SCALE, TARGET
from clm.core.errors import ArtifactCorrupt, BadInput, SchemaMismatch, TrainingFailed
from clm.core.plugins import model_family
from clm.core.protocols import ExplainedModel, PastFamily
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.neural.messages import Message
from clm.training.neural.process import Child, Keeper
from clm.training.seal import seal, unseal
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk
from tests.support.networks import NEURAL, needs_deep, network, past_frame, small
from tests.support.quick import REAL
from tests.support.waiting import LIMIT, eventually

pytestmark = [needs_deep, pytest.mark.rehearse]
BY_FAMILY = NEURAL
_PAST = dict.fromkeys(("return_1", "shock", "taker_share"), 16)


def _candles_of(returns: np.ndarray[Any, Any]) -> pd.DataFrame:
    frame = random_walk(len(returns), seed=4)
    close = 30_000 * np.exp(np.cumsum(returns))
    opens = np.concatenate(([30_000.0], close[:-1]))
    high, low = np.maximum(opens, close) * 1.0005, np.minimum(opens, close) * 0.9995
    return frame.assign(open=opens, high=high, low=low, close=close)


def _sine_and_ar(rows: int) -> pd.DataFrame:
    """A wave of half a day, and each return a third of the one before."""
    noise = np.random.default_rng(7).normal(0, 0.004, rows)
    returns = np.zeros(rows)
    for t in range(1, rows):
        returns[t] = 0.33 * returns[t - 1] + 0.004 * np.sin(2 * np.pi * t / 12) + noise[t]
    return _candles_of(returns)


def _r2_out_of_sample(family: str, candles: pd.DataFrame, **more: Any) -> float:
    """Against forecasting zero, on the last quarter; a day apart from what was trained on."""
    features = QuantumFeatureEngineer(use_advanced=False, past=_PAST).transform(candles)
    features = features.loc[np.isfinite(features[TARGET])]
    cut = int(0.75 * len(features))
    trainer = QuantumModelTrainer(params={family: small(family, **more)})
    model = trainer.train(family, features.iloc[: cut - 24])
    rows = features.iloc[cut:]
    forecast, actual = model.predict(rows[[*model.feature_names]]), rows[TARGET].to_numpy()
    return float(1 - ((actual - forecast) ** 2).sum() / (actual**2).sum())


@pytest.mark.parametrize("family", BY_FAMILY)
def test_a_wave_with_memory_is_learnt(family: str) -> None:
    found = _r2_out_of_sample(
        family, _sine_and_ar(3000), max_steps=600, learning_rate=3e-3, dropout=0.0, early_stop_patience=40
    )

    assert found > 0.25


@pytest.mark.parametrize("family", BY_FAMILY)
def test_white_noise_is_not(family: str) -> None:
    found = _r2_out_of_sample(family, random_walk(3000, seed=9), max_steps=200, learning_rate=1e-3)

    assert -0.05 < found < 0.02


@pytest.mark.parametrize("family", BY_FAMILY)
def test_what_is_past_is_what_it_was(family: str) -> None:
    frame = past_frame()

    for feature in model_family(family).past(small(family)):  # type: ignore[attr-defined]
        for lag in (1, 15):
            then = frame[feature].shift(lag).to_numpy()[lag:]
            assert np.array_equal(frame[f"{feature}@{lag}"].to_numpy()[lag:], then)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_a_gap_in_the_window_leaves_no_row_to_forecast(family: str) -> None:
    candles = random_walk(900, seed=2)
    holed = candles.drop(candles.index[500])
    engineer = QuantumFeatureEngineer(use_advanced=False, past=_PAST)

    rows = engineer.transform(holed)

    opens = pd.DatetimeIndex(rows.index)
    assert not opens.isin(candles.index[500 : 501 + engineer.warmup]).any()
    assert opens.isin(candles.index[501 + engineer.warmup :]).sum() == len(candles) - 501 - engineer.warmup


@pytest.mark.parametrize("family", BY_FAMILY)
def test_a_frame_without_the_past_is_refused_with_what_to_do(family: str) -> None:
    frame = QuantumFeatureEngineer(use_advanced=False).transform(random_walk(900))

    with pytest.raises(SchemaMismatch, match=r"looks back on 96 candles.*QuantumFeatureEngineer\(past="):
        QuantumModelTrainer().train(family, frame)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_impossible_parameters_are_refused_before_anything_starts(family: str) -> None:
    with pytest.raises(BadInput, match=r"input_size.*16 to 1000"):
        QuantumModelTrainer().train(family, past_frame(), {"input_size": 3})
    assert isinstance(model_family(family), PastFamily)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_the_cost_of_a_training_is_told(family: str) -> None:
    cost = network(family).cost

    assert 0 < cost["seconds"] < LIMIT
    assert 100e6 < cost["peak_bytes"] < 1.5e9
    assert cost["device"] in ("cpu", "cuda")


@pytest.mark.parametrize("family", BY_FAMILY)
def test_contributions_add_up_and_zero_moves_leave_the_base(family: str) -> None:
    model = network(family)
    rows = past_frame()[[*model.feature_names]].iloc[:40]

    base, parts = model.contributions(rows)

    assert isinstance(model, ExplainedModel)
    assert np.allclose(base + parts.sum(axis=1), model.predict(rows), rtol=1e-6, atol=1e-12)
    still = rows.assign(**{name: np.float32(0) for name in rows.columns if name != SCALE})
    nothing, none = model.contributions(still)
    assert np.all(none == 0)
    # The gradients account for the way from no move at all to the row, but for rounding.
    per_sigma = nothing / still[SCALE].to_numpy(dtype=np.float64)
    assert np.allclose(base / rows[SCALE].to_numpy(dtype=np.float64), per_sigma, atol=2e-3)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_altered_files_are_refused(family: str) -> None:
    payload = unseal(network(family).to_bytes(), family)
    read = model_family(family).from_bytes
    other = "patchtst" if family == "nhits" else "nhits"

    with pytest.raises(ArtifactCorrupt, match="cut short or was not written"):
        read(payload)
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        read(seal(payload[:-40]))
    with pytest.raises(ArtifactCorrupt, match="no header"):
        read(seal(payload.replace(b'"clm"', b'"mlc"')))
    with pytest.raises(ArtifactCorrupt, match=f"holds a '{family}' model"):
        model_family(other).from_bytes(network(family).to_bytes())


def test_weights_that_are_no_numbers_are_refused() -> None:
    payload = unseal(network("nhits").to_bytes(), "nhits")
    spoilt = payload[:-4] + np.array([np.nan], dtype="<f4").tobytes()

    with pytest.raises(ArtifactCorrupt, match="not finite"):
        model_family("nhits").from_bytes(seal(spoilt))


def test_a_training_that_is_killed_is_told_and_leaves_no_process() -> None:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    trainer = QuantumModelTrainer(
        params={"nhits": small("nhits", max_steps=100_000, early_stop_patience=9999)}
    )
    failed: list[TrainingFailed] = []
    under_way = threading.Event()

    def train() -> None:
        try:
            with heard_by(lambda part: under_way.set()):
                trainer.train("nhits", past_frame())
        except TrainingFailed as error:
            failed.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    victim = _new_child(before)
    assert under_way.wait(LIMIT)
    os.kill(victim, signal.SIGKILL)
    thread.join(LIMIT)

    assert "ended by signal 9" in str(failed[0])
    assert not psutil.pid_exists(victim)


def test_a_child_ends_with_its_parent_also_in_the_middle_of_a_training() -> None:
    code = (
        "from tests.support.networks import past_frame, small\n"
        "from clm.core.ambit import heard_by\n"
        "from clm.training.trainer import QuantumModelTrainer\n"
        "params = {'nhits': small('nhits', max_steps=100_000, early_stop_patience=9999)}\n"
        "with heard_by(lambda part: print('under way', flush=True)):\n"
        "    QuantumModelTrainer(params=params).train('nhits', past_frame())\n"
    )
    parent = subprocess.Popen([REAL, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "under way\n"
    children = psutil.Process(parent.pid).children()
    parent.kill()
    parent.communicate()

    _, alive = psutil.wait_procs(children, timeout=LIMIT)
    assert children
    assert alive == []


def test_a_forecaster_that_died_is_begun_anew() -> None:
    keeper, model = Keeper(), network("nhits")
    windows = np.zeros((2, 3, 16), dtype=np.float32)
    raw = unseal(model.to_bytes(), "nhits")
    try:
        first = keeper.ask("one", raw, {"do": "predict"}, windows=windows).arrays["z"]
        child = keeper._child
        assert child is not None
        os.kill(child._process.pid, signal.SIGKILL)
        child._process.wait()

        assert np.array_equal(keeper.ask("one", raw, {"do": "predict"}, windows=windows).arrays["z"], first)
    finally:
        keeper.close()


def test_a_forecaster_holds_so_many_models_and_is_sent_one_again_that_it_gave_up() -> None:
    keeper, model = Keeper(most=2), network("nhits")
    windows = np.zeros((2, 3, 16), dtype=np.float32)
    raw = unseal(model.to_bytes(), "nhits")
    try:
        answers = [
            keeper.ask(name, raw, {"do": "predict"}, windows=windows).arrays["z"]
            for name in ("one", "two", "one", "three", "two")
        ]

        assert all(np.array_equal(answer, answers[0]) for answer in answers)
        assert list(keeper._known) == ["three", "two"]
        child = keeper._child
        assert child is not None
        with pytest.raises(TrainingFailed, match="KeyError"):
            child.ask(Message({"do": "predict", "model": "one"}, {"windows": windows}))
    finally:
        keeper.close()


def test_what_a_child_cannot_do_is_an_error_and_not_its_end() -> None:
    child = Child()
    try:
        with pytest.raises(TrainingFailed, match="'dance' is nothing a network does"):
            child.ask(Message({"do": "dance"}))
        with pytest.raises(TrainingFailed, match="KeyError"):
            child.ask(Message({"do": "predict", "model": "unheard of"}))
        assert child.alive
    finally:
        child.close()


def test_the_process_that_asks_never_loads_pytorch() -> None:
    code = (
        "import sys\n"
        "from tests.support.networks import past_frame, small\n"
        "from clm.training.trainer import QuantumModelTrainer\n"
        "model = QuantumModelTrainer(params={'nhits': small('nhits')}).train('nhits', past_frame())\n"
        "model.predict(past_frame()[[*model.feature_names]])\n"
        "print([name for name in ('torch', 'neuralforecast', 'sklearn') if name in sys.modules])\n"
    )
    done = subprocess.run([REAL, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def _new_child(before: set[int]) -> int:
    def new() -> list[int]:
        return [p.pid for p in psutil.Process().children(recursive=True) if p.pid not in before]

    return eventually(new, "a process")[0]
