"""A version made once more: the same bytes, or the first thing that is not as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm.core import plugins
from clm.core.domain import SCALE, FloatArray, ModelArtifact
from clm.core.errors import ExchangeUnavailable, NotReproducible
from clm.core.origin import Origin
from clm.core.protocols import FeatureEngineer, TrainedModel
from clm.core.reproduce import CandleSource, Reproduced, Train, Verdict, What, reproduce
from clm.core.wire import artifact_view
from clm.features.engineer import QuantumFeatureEngineer
from clm.training.trainer import QuantumModelTrainer
from tests.support.candles import random_walk
from tests.support.managers import manager_over
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC, candidate

CANDLES = random_walk(2600)
FEW: dict[str, Any] = {"num_trees": 5, "min_data_in_leaf": 100}
FAMILIES = ("xgboost", "lightgbm", "sklearn_ridge")


@cache
def _made(family: str = "lightgbm") -> ModelArtifact:
    """A version as a cycle stores it, its bytes hashed as a registry does."""
    registry = DictRegistry(BTC)
    params = {family: {} if family == "sklearn_ridge" else FEW}
    manager = manager_over(CANDLES, registry, trainer_params=params, models=(family,))
    report = manager.run_full_cycle(force=True)
    assert not report.failed_models
    (artifact,) = registry.get_model_history(family)
    assert artifact.model is not None
    return replace(artifact, artifact_sha256=_sha256(artifact.model.to_bytes()))


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _train(model_type: str, rows: pd.DataFrame, params: Mapping[str, Any], seed: int) -> TrainedModel:
    return QuantumModelTrainer(seed=seed).train(model_type, rows, params)


def _source(candles: pd.DataFrame, name: str = "memory") -> CandleSource:
    return name, FrameDataClient(candles).load_training_data


def _again(
    artifact: ModelArtifact,
    *sources: CandleSource,
    train: Train = _train,
    engineer_of: Callable[[Sequence[str], int], FeatureEngineer] = QuantumFeatureEngineer.of,
    file: bool = True,
) -> Reproduced:
    every = sources or (_source(CANDLES),)
    return reproduce(artifact, every, engineer_of, train, artifact.model if file else None, lambda other: ())


def _revised(row: int, by: float = 1.001) -> pd.DataFrame:
    candles = CANDLES.copy()
    candles.iloc[row, [0, 1, 2, 3]] *= by
    return candles


@pytest.mark.parametrize("family", FAMILIES)
class TestIdentical:
    def test_from_the_same_candles_come_the_same_bytes(self, family: str) -> None:
        made = _made(family)

        found = _again(made)

        assert (found.verdict, found.differences, found.notes) == (Verdict.IDENTICAL, (), ())
        assert found.sha256 == made.artifact_sha256
        assert (found.rows, found.source, found.deviation) == (made.training_samples, "memory", 0.0)
        assert made.model is not None
        assert found.raw == made.model.to_bytes()

    def test_whatever_was_traded_since(self, family: str) -> None:
        later = pd.concat([CANDLES, random_walk(50, seed=9, start="2024-04-18 08:00")])

        assert _again(_made(family), _source(later)).verdict is Verdict.IDENTICAL

    def test_also_where_candles_after_the_training_were_revised(self, family: str) -> None:
        """The shadow's hours are not trained on."""
        assert _again(_made(family), _source(_revised(-3))).verdict is Verdict.IDENTICAL

    def test_when_the_file_is_gone(self, family: str) -> None:
        found = _again(_made(family), file=False)

        assert (found.verdict, found.deviation) == (Verdict.IDENTICAL, 0.0)


class TestCandles:
    def test_one_that_was_revised_is_named_first(self) -> None:
        found = _again(_made(), _source(_revised(1500)))

        assert found.verdict is Verdict.DIFFERENT
        assert found.differences[0].what is What.CANDLES
        assert f"differs: {CANDLES.index[1500]:%Y-%m-%d %H:%M} UTC" in found.differences[0].said
        assert found.sha256 is not None

    def test_those_of_then_are_looked_for_in_every_source(self) -> None:
        found = _again(_made(), _source(_revised(1500), "store"), _source(CANDLES, "exchange"))

        assert (found.verdict, found.source) == (Verdict.IDENTICAL, "exchange")
        assert found.notes[0].startswith("store: 1 of")
        assert found.differences == ()

    def test_what_several_sources_say_alike_is_told_once(self) -> None:
        one, two = _source(_revised(1500), "store"), _source(_revised(1500), "exchange")
        other = _source(_revised(1600), "copy")

        assert (_again(_made(), one, two).notes, _again(_made(), one, two).source) == ((), "exchange")
        assert _again(_made(), other, two).notes[0].startswith("copy: 1 of")

    def test_the_first_source_that_has_them_is_the_last_one_asked(self) -> None:
        def never(start: datetime, end: datetime) -> pd.DataFrame:
            raise AssertionError("asked all the same")

        assert _again(_made(), _source(CANDLES), ("exchange", never)).verdict is Verdict.IDENTICAL

    def test_a_source_that_does_not_answer_is_noted_and_the_next_one_asked(self) -> None:
        found = _again(_made(), ("exchange", _away), _source(CANDLES))

        assert found.verdict is Verdict.IDENTICAL
        assert found.notes == ("exchange could not be asked: it is away",)

    def test_where_none_answers_that_is_the_error(self) -> None:
        with pytest.raises(ExchangeUnavailable, match="it is away"):
            _again(_made(), ("exchange", _away))
        with pytest.raises(NotReproducible, match="from anywhere"):
            _again(_made(), ("store", lambda start, end: None))

    def test_none_at_all_leave_nothing_to_train(self) -> None:
        found = _again(_made(), _source(CANDLES.iloc[-3:]))

        assert (found.verdict, found.sha256, found.rows) == (Verdict.DIFFERENT, None, 0)
        assert found.differences[0].said == "memory has none of them"

    def test_a_fingerprint_in_the_registry_that_is_another_is_told_apart_from_a_revision(self) -> None:
        found = _again(replace(_made(), data_fingerprint="d" * 64))

        assert found.verdict is Verdict.IDENTICAL
        assert "fingerprint in the registry is another" in found.differences[0].said


class TestTheRow:
    """What is registered is what a rebuild is made from; where it was altered, that is told first."""

    @pytest.mark.parametrize(
        ("altered", "what", "said"),
        [
            ({"seed": 8}, What.SEED, "registered as 8, it was trained with 0"),
            ({"params": {"max_depth": 5}}, What.PARAMETERS, "max_depth is registered as 5, it was trained "),
            ({"feature_schema_hash": "f" * 64}, What.FEATURES, "schema hash in the registry, ffffffffffff…"),
            ({"training_samples": 7}, What.FEATURES, "7 training rows are registered, "),
        ],
    )  # fmt: skip
    def test_names_what_was_altered(self, altered: dict[str, Any], what: What, said: str) -> None:
        made = _made("xgboost")
        if "params" in altered:
            altered = {"params": {**made.params, **altered["params"]}}

        found = _again(replace(made, **altered))

        assert found.differences[0].what is what
        assert said in found.differences[0].said
        same_bytes = what is What.FEATURES
        assert found.verdict is (Verdict.IDENTICAL if same_bytes else Verdict.DIFFERENT)
        assert (found.sha256 == made.artifact_sha256) is same_bytes

    def test_other_library_versions_are_named_and_it_is_rebuilt_all_the_same(self) -> None:
        made = _made()

        found = _again(replace(made, library_versions={**made.library_versions, "lightgbm": "3.0.0"}))

        (difference,) = found.differences
        assert difference.what is What.LIBRARIES
        assert difference.said.startswith("lightgbm 3.0.0 then, ")
        assert found.verdict is Verdict.IDENTICAL

    def test_another_clm_is_named(self) -> None:
        made = _made()
        assert made.origin is not None
        older = {**made.origin, "code": {"version": "0.0.1", "sha256": "a" * 64}}

        found = _again(replace(made, origin=older))

        (difference,) = found.differences
        assert difference.what is What.CODE
        assert difference.said.startswith("CLM 0.0.1 (sources aaaaaaaaaaaa) then, CLM ")
        assert found.verdict is Verdict.IDENTICAL

    def test_all_of_it_is_told_in_a_fixed_order(self) -> None:
        made = _made("xgboost")
        assert made.origin is not None
        altered = replace(
            made, seed=8, params={**made.params, "max_depth": 5}, feature_schema_hash="f" * 64,
            library_versions={"xgboost": "1"}, origin={**made.origin, "code": {"version": "0", "sha256": ""}},
        )  # fmt: skip

        found = _again(altered, _source(_revised(1500)))

        assert [difference.what for difference in found.differences] == list(What)
        assert found.view()["first_difference"] == "candles"

    def test_a_parameter_nobody_knows_is_told_and_nothing_comes_out(self) -> None:
        made = _made()

        found = _again(replace(made, params={**made.params, "colour": "blue"}))

        assert [d.what for d in found.differences] == [What.PARAMETERS, What.ARTIFACT]
        assert "colour" in found.differences[1].said
        assert (found.verdict, found.raw) == (Verdict.DIFFERENT, None)

    def test_without_what_it_was_made_from_there_is_nothing_to_go_by(self) -> None:
        with pytest.raises(NotReproducible, match="registered without what it was made from"):
            _again(candidate())


class TestOtherCode:
    def test_a_feature_that_is_computed_no_more(self) -> None:
        made = _made()
        assert made.origin is not None
        origin = {**made.origin, "features": ["gone_24", *made.origin["features"][1:]]}

        found = _again(replace(made, origin=origin))

        features = [d.said for d in found.differences if d.what is What.FEATURES]
        assert any("does not compute: gone_24" in said for said in features)
        assert (found.verdict, found.sha256) == (Verdict.DIFFERENT, None)

    def test_a_feature_that_comes_out_otherwise_is_named(self) -> None:
        found = _again(_made(), engineer_of=_Tweaked)

        (difference,) = found.differences
        assert difference.what is What.ARTIFACT
        assert "other values come out of return_1" in difference.said
        assert found.verdict is Verdict.DIFFERENT

    @pytest.mark.parametrize("file", [True, False])
    @pytest.mark.parametrize(
        ("factor", "verdict"),
        [(1.0, Verdict.WITHIN_TOLERANCE), (1 + 5e-7, Verdict.WITHIN_TOLERANCE), (1.001, Verdict.DIFFERENT)],
    )
    def test_other_bytes_are_tolerable_as_long_as_forecasts_are_the_same(
        self, factor: float, verdict: Verdict, file: bool
    ) -> None:
        found = _again(_made(), train=_other(factor), file=file)

        assert found.verdict is verdict
        assert found.deviation == pytest.approx(factor - 1, abs=1e-9)
        assert [difference.what for difference in found.differences] == [What.ARTIFACT]
        assert found.sha256 != _made().artifact_sha256

    def test_other_bytes_from_other_candles_are_never_tolerable(self) -> None:
        found = _again(_made(), _source(_revised(1500, 1 + 1e-12)), train=_other(1.0))

        assert found.deviation is not None
        assert found.deviation <= 1e-6
        assert found.verdict is Verdict.DIFFERENT


class TestTheOrigin:
    def test_is_stored_with_every_version_a_cycle_makes(self) -> None:
        made = _made()
        assert made.origin is not None

        origin = Origin.from_json(made.origin)

        assert origin.to_json() == made.origin
        assert origin.now == made.trained_at
        assert (origin.seed, origin.params) == (made.seed, made.params)
        assert origin.rule.lookback == timedelta(days=90)
        assert origin.pins.candles > made.training_samples
        assert len(origin.columns) == len(origin.names) + 1

    def test_is_no_part_of_what_lists_show(self) -> None:
        assert "origin" not in artifact_view(_made())


def _away(start: datetime, end: datetime) -> pd.DataFrame:
    raise ExchangeUnavailable("it is away")


class _Tweaked(QuantumFeatureEngineer):
    """A newer CLM whose return_1 is not what it was."""

    def __init__(self, names: Sequence[str], horizon: int) -> None:
        super().__init__(horizon=horizon)
        self.catalogue = QuantumFeatureEngineer.of(names, horizon).catalogue

    def transform(self, df: pd.DataFrame) -> pd.DataFrame:
        frame = super().transform(df)
        return frame.assign(return_1=frame["return_1"] + np.float32(0.5) * frame[SCALE] * 100)


def _other(factor: float) -> Train:
    """A library that writes other files and forecasts a little more."""

    def train(model_type: str, rows: pd.DataFrame, params: Mapping[str, Any], seed: int) -> TrainedModel:
        return _Scaled(plugins.model_family(model_type).train(rows, params, seed), factor)

    return train


class _Scaled:
    suffix = ".other"

    def __init__(self, inner: TrainedModel, factor: float) -> None:
        self._inner, self._factor = inner, factor
        self.model_type, self.feature_names, self.params = inner.model_type, inner.feature_names, inner.params

    def predict(self, df: pd.DataFrame) -> FloatArray:
        return self._inner.predict(df) * self._factor

    def to_bytes(self) -> bytes:
        return self._inner.to_bytes() + b"\n"
