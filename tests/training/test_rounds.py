"""Who is told how far a training is gets the same model as who is not, and as soon."""

from __future__ import annotations

import time
from itertools import count
from types import SimpleNamespace

import pytest

from clm.core import ambit
from clm.core.ambit import Part, heard_by
from clm.training.trainer import QuantumModelTrainer
from tests.support.frames import feature_frame
from tests.support.networks import needs_deep, past_frame, small

BOOSTED = ("xgboost", "lightgbm")


@pytest.mark.parametrize("family", BOOSTED)
def test_every_round_is_counted_and_the_model_is_the_same_to_the_last_bit(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ambit, "TOLD_EVERY", 0.0)
    frame, heard = feature_frame(2000), list[Part]()
    alone = QuantumModelTrainer(seed=3).train(family, frame, {"num_boost_round": 40}).to_bytes()

    with heard_by(heard.append):
        told = QuantumModelTrainer(seed=3).train(family, frame, {"num_boost_round": 40}).to_bytes()

    assert told == alone
    assert heard == [Part(done, 40, "rounds") for done in range(1, 41)]


@pytest.mark.parametrize("family", BOOSTED)
def test_a_word_comes_now_and_then_and_a_short_training_has_none(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which each round takes a sixty-fourth of a second."""
    looks, heard = count(), list[Part]()
    monkeypatch.setattr(ambit, "time", SimpleNamespace(monotonic=lambda: next(looks) / 64))
    every = int(ambit.TOLD_EVERY * 64)

    with heard_by(heard.append):
        QuantumModelTrainer().train(
            family, feature_frame(1200), {"num_boost_round": 5, "min_data_in_leaf": 50}
        )
        short = len(heard)
        many = {"num_boost_round": 100, "min_data_in_leaf": 50}
        QuantumModelTrainer().train(family, feature_frame(1200), many)

    assert short == 0
    assert heard == [Part(done, 100, "rounds") for done in range(every, 101, every)]
    assert len(heard) > 1


def test_counting_takes_a_millionth_of_a_second() -> None:
    with heard_by(lambda part: None):
        told = ambit.counter(100_000, "rounds")
        assert told is not None
        took = []
        for _ in range(5):
            began = time.process_time()
            for done in range(100_000):
                told(done)
            took.append(time.process_time() - began)

    # A round of the smallest training takes a thousand times as long. Of five, the least disturbed.
    assert min(took) / 100_000 < 5e-6
    assert ambit.counter(10, "rounds") is None


@needs_deep
@pytest.mark.rehearse
def test_a_network_tells_of_its_steps_from_its_own_process() -> None:
    heard = list[Part]()
    more = {"max_steps": 2500, "val_check_steps": 2500}
    with heard_by(heard.append):
        QuantumModelTrainer(params={"nhits": small("nhits", **more)}).train("nhits", past_frame())

    assert heard
    assert {(part.total, part.unit) for part in heard} == {(2500, "steps")}
    assert [part.done for part in heard] == sorted(part.done for part in heard)
