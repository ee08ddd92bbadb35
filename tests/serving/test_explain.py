"""What an explanation promises: it adds up, it says what it compares, and it says whom it cannot explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from clm.core import plugins
from clm.core.domain import FloatArray, FloatMatrix, ModelArtifact, Series
from clm.core.errors import ArtifactMissing, InsufficientData, NotExplainable, VersionNotFound
from clm.core.protocols import FeatureEngineer, TrainedModel
from clm.features.catalogue import ADVANCED
from clm.features.engineer import QuantumFeatureEngineer
from clm.serving.explain import SAMPLE_ROWS, Explainer
from tests.support.candles import random_walk
from tests.support.parts import DictRegistry, FrameDataClient
from tests.support.versions import BTC, candidate

BASIC, FULL = QuantumFeatureEngineer(use_advanced=False), QuantumFeatureEngineer()
FAMILIES = {feature.name: feature.family for feature in ADVANCED}
CANDLES = random_walk(2500)
FEW = {"num_trees": 20, "min_data_in_leaf": 50}
CLOSE_LAG = timedelta(seconds=3)


@dataclass
class Stage:
    """Versions in memory over candles in memory; `now` is a moment after the newest close."""

    candles: pd.DataFrame = field(default_factory=lambda: CANDLES)
    engineers: tuple[FeatureEngineer, ...] = (BASIC, FULL)

    def __post_init__(self) -> None:
        self.registry = DictRegistry(BTC)
        self.client = FrameDataClient(self.candles)
        self.client.now += CLOSE_LAG
        self.explainer = Explainer(self.registry, self._client, self.engineers, FAMILIES)

    def _client(self, series: Series) -> FrameDataClient:
        return self.client

    def train(
        self, family: str = "lightgbm", day: int = 0, engineer: FeatureEngineer = BASIC, **params: Any
    ) -> ModelArtifact:
        given = {} if family == "sklearn_ridge" else {**FEW, **params}
        frame = engineer.transform(self.candles.iloc[:1500])
        model = plugins.model_family(family).train(frame.iloc[:-1], given, day)
        return self.registry.save_model(candidate(day, model_type=family, model=model))

    def champion(self, family: str = "lightgbm", day: int = 0, **more: Any) -> ModelArtifact:
        saved = self.train(family, day, **more)
        return self.registry.promote(family, saved.version, at=saved.trained_at)

    def ask(self, family: str = "lightgbm", **more: Any) -> dict[str, Any]:
        return self.explainer.explain(BTC, family, **more)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def _model(artifact: ModelArtifact) -> Any:
    assert artifact.model is not None
    return artifact.model


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
class TestTheNewestForecast:
    def test_is_what_the_model_forecasts_from_the_newest_closed_candle(
        self, stage: Stage, family: str
    ) -> None:
        champion = stage.champion(family)
        newest = BASIC.transform(CANDLES).iloc[[-1]]

        forecast = stage.ask(family)["forecast"]

        assert forecast["open_time"] == newest.index[-1]
        assert forecast["made_at"] == newest.index[-1] + pd.Timedelta(hours=1)
        assert forecast["log_return"] == pytest.approx(_model(champion).predict(newest)[0], rel=1e-6)

    def test_is_base_and_contributions_to_a_millionth(self, stage: Stage, family: str) -> None:
        stage.champion(family)

        forecast = stage.ask(family)["forecast"]

        parts = [part["contribution"] for part in forecast["contributions"]]
        assert (len(parts), forecast["rest"], forecast["rest_features"]) == (len(BASIC.catalogue), 0, 0)
        assert forecast["base"] + sum(parts) == pytest.approx(forecast["log_return"], rel=1e-6)
        assert [abs(part) for part in parts] == sorted((abs(part) for part in parts), reverse=True)

    def test_names_value_and_family_of_each_feature(self, stage: Stage, family: str) -> None:
        stage.champion(family)
        newest = BASIC.transform(CANDLES).iloc[-1]

        for part in stage.ask(family)["forecast"]["contributions"]:
            assert part["value"] == pytest.approx(float(newest[part["feature"]]), rel=1e-5, abs=1e-6)
            assert part["family"] == FAMILIES[part["feature"]]

    def test_cut_to_the_top_still_adds_up(self, stage: Stage, family: str) -> None:
        stage.champion(family)
        whole = stage.ask(family)["forecast"]["contributions"]

        forecast = stage.ask(family, top=3)["forecast"]

        assert forecast["contributions"] == whole[:3]
        assert forecast["rest_features"] == len(BASIC.catalogue) - 3
        added = forecast["base"] + sum(p["contribution"] for p in whole[:3]) + forecast["rest"]
        assert added == pytest.approx(forecast["log_return"], rel=1e-6)

    def test_knows_no_candle_that_has_not_closed(self, stage: Stage, family: str) -> None:
        stage.champion(family)
        earlier = Stage(CANDLES.iloc[:-40])
        earlier.registry = stage.registry
        earlier.explainer = Explainer(stage.registry, earlier._client, (BASIC,), FAMILIES)
        stage.client.now -= timedelta(hours=40)

        assert _timeless(stage.ask(family)) == _timeless(earlier.ask(family))


class TestImportance:
    def test_is_the_mean_size_of_contributions_over_a_month_of_candles(self, stage: Stage) -> None:
        champion = stage.champion()
        month = BASIC.transform(CANDLES).iloc[-720:]
        rows = month.iloc[np.linspace(0, 719, SAMPLE_ROWS).round().astype(int)]
        _, parts = _model(champion).contributions(rows)
        expected = dict(zip(_model(champion).feature_names, np.abs(parts).mean(axis=0), strict=True))

        importance = stage.ask()["importance"]

        assert (importance["rows"], importance["since"]) == (500, month.index[0])
        found = {f["feature"]: f["mean_abs_contribution"] for f in importance["features"]}
        assert found == pytest.approx(expected, rel=1e-5)
        assert sum(f["share"] for f in importance["features"]) == pytest.approx(1)
        assert importance["features"][0]["rank"] == 1

    def test_has_the_gain_beside_it(self, stage: Stage) -> None:
        gains = _model(stage.champion()).gains()

        shown = {f["feature"]: f["gain"] for f in stage.ask()["importance"]["features"]}

        assert [shown[name] for name in BASIC.get_feature_names()] == pytest.approx(list(gains))

    def test_of_few_candles_takes_them_all(self) -> None:
        stage = Stage(CANDLES.iloc[: 1500 + BASIC.warmup])
        stage.champion()
        short = Stage(CANDLES.iloc[: BASIC.warmup + 100])
        short.registry = stage.registry
        short.explainer = Explainer(stage.registry, short._client, (BASIC,), FAMILIES)

        assert short.ask()["importance"]["rows"] == 100

    def test_comes_out_the_same_every_time(self, stage: Stage) -> None:
        stage.champion("xgboost")
        again = Stage()
        again.registry = stage.registry
        again.explainer = Explainer(stage.registry, again._client, (BASIC,), FAMILIES)

        assert _timeless(stage.ask("xgboost")) == _timeless(again.ask("xgboost"))


class TestDrift:
    def test_of_a_champion_is_against_the_version_it_replaced(self, stage: Stage) -> None:
        first, second = (stage.champion(day=day) for day in (0, 1))

        drift = stage.ask()["drift"]

        assert (drift["version"], drift["against"]) == (second.version, first.version)
        assert 0 < drift["moved"] < 1
        changes = [abs(f["share_change"]) for f in drift["features"]]
        assert changes == sorted(changes, reverse=True)
        assert drift["moved"] == pytest.approx(sum(changes) / 2)
        for f in drift["features"]:
            assert f["share_change"] == pytest.approx(f["share"] - f["share_before"])
        both = [[f[key] for f in drift["features"]] for key in ("importance", "importance_before")]
        assert drift["rank_correlation"] == pytest.approx(spearmanr(*both).statistic)

    def test_of_a_version_against_itself_is_none(self, stage: Stage) -> None:
        name = stage.champion().version

        drift = stage.ask(version=name, against=name)["drift"]

        assert (drift["moved"], drift["rank_correlation"]) == (0, pytest.approx(1))

    def test_of_a_challenger_is_against_the_champion(self, stage: Stage) -> None:
        champion, challenger = stage.champion(), stage.train(day=1)

        drift = stage.ask(version=challenger.version)["drift"]

        assert (drift["version"], drift["against"]) == (challenger.version, champion.version)

    def test_of_any_two_versions_can_be_asked_for(self, stage: Stage) -> None:
        one, two, three = (stage.champion(day=day).version for day in range(3))

        found = stage.ask(version=two, against=one)

        assert (found["version"], found["drift"]["against"]) == (two, one)
        assert found["drift"] != stage.ask(version=three, against=one)["drift"]

    def test_of_versions_with_other_features_counts_what_one_lacks_as_nothing(self, stage: Stage) -> None:
        stage.champion(day=0)
        stage.champion(day=1, engineer=FULL)

        drift = stage.ask()["drift"]

        assert len(drift["features"]) == len(FULL.catalogue)
        new = [f for f in drift["features"] if f["feature"] not in BASIC.get_feature_names()]
        assert {(f["importance_before"], f["share_before"], f["rank_before"]) for f in new} == {(None,) * 3}
        assert all(f["share_change"] == f["share"] for f in new)

    def test_of_the_first_champion_there_is_none_and_it_says_why(self, stage: Stage) -> None:
        champion = stage.champion()
        challenger = stage.train(day=1)
        stage.registry.retire("lightgbm", champion.version, at=champion.trained_at)

        assert stage.ask(version=champion.version)["drift_note"] == "it replaced no version"
        assert "no champion" in stage.ask(version=challenger.version)["drift_note"]


class TestCosts:
    def test_are_paid_once_a_version_and_candle(self, stage: Stage) -> None:
        stage.champion()
        first = stage.ask()
        loads = stage.client.loads

        assert _timeless(stage.ask()) == _timeless(first)
        assert stage.client.loads == loads == 1
        assert len(stage.ask(top=2)["importance"]["features"]) == 2
        assert stage.client.loads == 1

    def test_are_paid_once_by_many_who_ask_together(self, stage: Stage) -> None:
        stage.champion()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: _timeless(stage.ask()), range(8)))

        assert answers == [answers[0]] * 8
        assert stage.client.loads == 1

    def test_are_paid_again_with_the_next_candle(self, stage: Stage) -> None:
        stage.champion()
        stage.client.now -= timedelta(hours=1)
        before = stage.ask()["forecast"]
        stage.client.now += timedelta(hours=1)

        after = stage.ask()["forecast"]

        assert after["open_time"] - before["open_time"] == timedelta(hours=1)
        assert after["log_return"] != before["log_return"]

    def test_of_a_candle_that_is_late_are_not_remembered(self, stage: Stage) -> None:
        stage.champion()
        late = FrameDataClient(CANDLES.iloc[:-1])
        late.now = stage.client.now
        on_time, stage.client = stage.client, late
        assert stage.ask()["forecast"]["open_time"] == CANDLES.index[-2]

        stage.client = on_time

        assert stage.ask()["forecast"]["open_time"] == CANDLES.index[-1]

    def test_are_not_paid_where_it_failed_and_the_next_one_tries_again(self, stage: Stage) -> None:
        stage.champion()
        whole, stage.client = stage.client, FrameDataClient(CANDLES.iloc[-60:])
        stage.client.now = whole.now
        with pytest.raises(InsufficientData):
            stage.ask()

        stage.client = whole

        assert stage.ask()["forecast"]["contributions"]


class TestWhoCannotBeExplained:
    def test_a_family_without_contributions_is_told_what_it_lacks_and_who_has_it(self, stage: Stage) -> None:
        stage.champion("sklearn_ridge")

        with pytest.raises(NotExplainable, match=r"sklearn_ridge models have no `contributions`.*xgboost"):
            stage.ask("sklearn_ridge")

    def test_no_champion_and_no_such_version(self, stage: Stage) -> None:
        with pytest.raises(VersionNotFound, match="no champion to explain"):
            stage.ask()
        stage.champion()
        with pytest.raises(VersionNotFound, match="v1999"):
            stage.ask(version="v1999")
        with pytest.raises(VersionNotFound, match="v1999"):
            stage.ask(against="v1999")

    def test_a_version_without_its_file_is_told_how_it_may_come_back(self, stage: Stage) -> None:
        gone, there = stage.champion(day=0), stage.champion(day=1)
        registry = _Gone(gone, stage.registry)
        stage.explainer = Explainer(registry, stage._client, (BASIC,), FAMILIES)

        with pytest.raises(NotExplainable, match=f"clm reproduce {gone.version} --model lightgbm --restore"):
            stage.ask(version=gone.version)
        with pytest.raises(NotExplainable):
            stage.ask(against=gone.version)
        found = stage.ask()
        assert (found["version"], found["drift"]) == (there.version, None)
        assert "was put away" in found["drift_note"]

    def test_a_version_is_no_longer_explained_once_its_file_is_set_aside(self, stage: Stage) -> None:
        champion = stage.champion()
        stage.ask()
        marked = stage.registry.quarantine("lightgbm", champion.version, "altered")
        registry = _Gone(marked, stage.registry)
        stage.explainer._registry = registry

        with pytest.raises(NotExplainable):
            stage.ask()

    def test_a_version_whose_features_are_computed_no_more(self, stage: Stage) -> None:
        stage.champion(engineer=FULL)
        stage.explainer = Explainer(stage.registry, stage._client, (BASIC,), FAMILIES)

        with pytest.raises(NotExplainable, match="features that are not computed any more, such as"):
            stage.ask()

    def test_a_candle_behind_a_gap(self) -> None:
        stage = Stage(CANDLES.drop(CANDLES.index[-5]))
        stage.champion()

        with pytest.raises(InsufficientData, match="no full history"):
            stage.ask()

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (lambda base, parts: (base, parts * 1.01), "do not add up"),
            (lambda base, parts: (base[:-1], parts), "of shapes"),
            (lambda base, parts: (base, parts[:, :-1]), "of shapes"),
            (lambda base, parts: 1 / 0, "broke down explaining itself: ZeroDivisionError"),
        ],
    )
    def test_a_family_that_breaks_its_promise(
        self, stage: Stage, answer: Callable[[Any, Any], Any], said: str
    ) -> None:
        champion = stage.champion()
        stage.registry._put(replace(champion, model=_Strange(_model(champion), answer)))

        with pytest.raises(NotExplainable, match=said):
            stage.ask()


class TestAnyFamily:
    def test_that_offers_contributions_is_explained_alike(self, stage: Stage) -> None:
        """A network would answer integrated gradients; it has no gains."""
        champion = stage.champion()
        stage.registry._put(replace(champion, model=_Strange(_model(champion), lambda *both: both)))

        importance = stage.ask()["importance"]

        assert {f["gain"] for f in importance["features"]} == {None}
        assert importance["features"][0]["share"] > 0


class _Strange:
    """A third party's model around one of ours."""

    model_type = "lightgbm"
    suffix = ".txt"

    def __init__(self, inner: Any, answer: Callable[[Any, Any], Any]) -> None:
        self._inner, self._answer = inner, answer
        self.feature_names: tuple[str, ...] = inner.feature_names
        self.params: Mapping[str, Any] = inner.params

    def predict(self, df: pd.DataFrame) -> FloatArray:
        found: FloatArray = self._inner.predict(df)
        return found

    def to_bytes(self) -> bytes:
        return b""

    def contributions(self, df: pd.DataFrame) -> tuple[FloatArray, FloatMatrix]:
        found: tuple[FloatArray, FloatMatrix] = self._answer(*self._inner.contributions(df))
        return found


class _Gone(DictRegistry):
    """A registry in which the file of one version was put away."""

    def __init__(self, gone: ModelArtifact, other: DictRegistry) -> None:
        super().__init__(BTC, other._store)
        self._gone = gone.version

    def for_series(self, series: Series) -> DictRegistry:
        return self

    def load_model(self, artifact: ModelArtifact) -> TrainedModel:
        if artifact.version == self._gone:
            raise ArtifactMissing(f"the file of {artifact.version} was put away by retention")
        return super().load_model(artifact)


def _timeless(found: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(found["forecast"]["open_time"], datetime)
    return {key: value for key, value in found.items() if key != "seconds"}
