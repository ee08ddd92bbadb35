"""What makes sense as an experiment, when one ends, and what is said of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from clm.core.domain import ModelArtifact
from clm.core.errors import BadInput, ExperimentOpen, NotCertified, VersionNotFound, VersionUnfit
from clm.core.evidence import Bet
from clm.core.experiments import Arm, arm_drawn, check_caller, drawn, planned
from clm.core.verdicts import Lost, Score, Why, judged, outlook, up
from tests.support.experiments import experiment
from tests.support.stage import RIDGE, Stage
from tests.support.versions import BTC, T0

HOUR = timedelta(hours=1)


def _planned(**more: Any) -> Any:
    given: dict[str, Any] = {
        "experiment_id": "x1", "series": BTC, "model_type": RIDGE, "versions": ("v1", "v2"), "split": 0.5,
        "alpha": 0.05, "start": None, "end": None, "days": 30, "by": "desk", "now": T0, **more,
    }  # fmt: skip
    return planned(**given)


def _score(*gains: float) -> Score:
    score = Score.start(BTC, 1)
    for k, gain in enumerate(gains):
        score = score.after(Bet(T0 + k * HOUR, gain, 1.0))
    return score


class TestAPlan:
    def test_begins_now_by_the_exchanges_clock_and_ends_after_so_many_days(self) -> None:
        made = _planned()

        assert (made.starts_at, made.ends_at, made.created_at) == (T0, T0 + timedelta(days=30), T0)
        assert _planned(days=None, end=T0 + 3 * HOUR).ends_at == T0 + 3 * HOUR

    def test_that_begins_later_counts_its_days_from_then_on(self) -> None:
        made = _planned(start=T0 + 5 * HOUR, days=1)

        assert (made.starts_at, made.ends_at) == (T0 + 5 * HOUR, T0 + 29 * HOUR)
        assert [made.runs_at(T0 + k * HOUR) for k in (4, 5, 28, 29)] == [False, True, True, False]

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"versions": ("v1", "v1")}, "versions"),
            ({"split": -0.1}, "split"), ({"split": 1.1}, "split"), ({"split": float("nan")}, "split"),
            ({"alpha": 0.0}, "alpha"), ({"alpha": 0.5}, "alpha"), ({"alpha": float("nan")}, "alpha"),
            ({"days": None}, "end, days"), ({"end": T0 + 9 * HOUR}, "end, days"),
            ({"days": 0}, "days"), ({"days": 1e9}, "days"), ({"days": float("nan")}, "days"),
            ({"days": 1 / 24}, "days"), ({"days": None, "end": T0 + HOUR}, "end"),
            ({"days": None, "end": T0 + timedelta(days=9999)}, "end"),
            ({"start": T0 - HOUR}, "start"), ({"start": T0 + timedelta(days=9999)}, "start"),
            ({"start": datetime(2024, 6, 1)}, "time"),
        ],
    )  # fmt: skip
    def test_that_makes_no_sense_says_which_field_and_what_would(self, wrong: Any, field: str) -> None:
        with pytest.raises(BadInput) as refused:
            _planned(**wrong)

        assert refused.value.field == field
        assert refused.value.allowed

    @pytest.mark.parametrize(
        "caller", ["", "x" * 201, "two\nlines", "nul\0", "\ud800", "\u202eback", "end\n"]
    )
    def test_callers_who_cannot_be_kept_are_refused(self, caller: str) -> None:
        with pytest.raises(BadInput, match="1 to 200 printable characters"):
            check_caller(caller)


class TestALot:
    def test_is_the_same_for_ever(self) -> None:
        """Were it computed otherwise one day, callers of experiments under way would change their arm."""
        assert drawn("x20240601_003000_1f3a9c", "bot 7") == 0.7902140502112477
        assert drawn("x20240601_003000_1f3a9c", "Bjørn’s bot 🚀") == 0.8475062571009988

    def test_of_everybody_is_the_same_arm_where_the_split_says_so(self) -> None:
        callers = [f"bot {k}" for k in range(500)]

        assert {arm_drawn(experiment(split=0.0), c) for c in callers} == {Arm.A}
        assert {arm_drawn(experiment(split=1.0), c) for c in callers} == {Arm.B}


class TestAnEnd:
    def test_does_not_come_while_nothing_is_shown_and_there_is_time(self) -> None:
        assert judged(experiment(), _score(0.1), 1, T0 + 9 * HOUR) is None

    @pytest.mark.parametrize(("gain", "why", "winner"), [(0.5, "b_better", "B"), (-0.5, "a_better", "A")])
    def test_is_either_arms_by_the_same_rule(self, gain: float, why: str, winner: str) -> None:
        score = _score(*[gain] * 25)

        ended = judged(experiment(), score, 1, T0 + 99 * HOUR)

        assert ended is not None
        assert (ended.why, ended.winner, ended.at) == (why, winner, T0 + 26 * HOUR)
        assert "of 40 after 25 candles; were it no better, the chance of ever getting there" in ended.reason
        assert ended.reason.endswith("at most 2.5 %")

    def test_that_was_shown_comes_before_any_other(self) -> None:
        score = _score(*[0.5] * 25)
        given = {"over": True, "lost": Lost(Arm.A, "gone"), "stopped_by": "desk"}

        ended = judged(experiment(), score, 1, T0, **given)

        assert ended is not None
        assert ended.why is Why.B_BETTER

    def test_with_the_time_says_how_it_stood(self) -> None:
        ended = judged(experiment(), _score(0.1, -0.1), 1, T0, over=True)

        assert ended is not None
        said = "E = 0.999 that B is better and 0.999 that A is, of 40, after 2 candles"
        assert ended.reason == f"no difference could be shown: {said}"
        assert ended.at == experiment().ends_at

    def test_waits_a_candle_for_the_last_one(self) -> None:
        made, end = experiment(), experiment().ends_at

        assert not up(made, end - HOUR / 60, end)
        assert up(made, end, end)
        assert not up(made, end, end - HOUR)
        assert not up(made, end)
        assert up(made, end + HOUR)

    def test_is_told_beforehand_where_it_is_in_sight(self) -> None:
        assert outlook(experiment(starts_at=T0 + HOUR), _score(), T0) == "begins at 2024-05-01 01:00 UTC"
        said = outlook(experiment(), _score(0.3, 0.2, 0.1), T0 + 9 * HOUR)
        assert said.startswith("no difference shown yet: E = 1.22")
        assert "B would be ahead enough in about 9 hours" in said
        assert "ahead" not in outlook(experiment(), _score(0.2, -0.2), T0 + 9 * HOUR)


class TestStarting:
    """Versions that could not answer are refused before anybody is given to them."""

    @pytest.fixture
    def stage(self, tmp_path: Any) -> Any:
        made = Stage(tmp_path)
        yield made
        made.close()

    def _start(self, stage: Stage, a: ModelArtifact, b: ModelArtifact, **more: Any) -> Any:
        given: dict[str, Any] = {"days": 30, "by": "desk", **more}
        return stage.experiments.start(BTC, RIDGE, (a.version, b.version), **given)

    def test_needs_two_versions_that_exist(self, stage: Stage) -> None:
        with pytest.raises(VersionNotFound, match="v1999"):
            stage.experiments.start(BTC, RIDGE, (stage.reign(0.1).version, "v1999"), days=3, by="desk")

    def test_needs_a_model_type_that_is_watched(self, stage: Stage) -> None:
        with pytest.raises(BadInput, match="sklearn_ridge: those of BTCUSDT 1h"):
            stage.experiments.start(BTC, "xgboost", ("v1", "v2"), days=3, by="desk")

    def test_refuses_a_file_that_is_missing_set_aside_or_put_away(self, stage: Stage) -> None:
        champion = stage.reign(0.1)
        missing, aside, away = (stage.save(0.1) for _ in range(3))
        (stage.folder / "models" / str(missing.file_path)).unlink()
        stage.registry.quarantine(RIDGE, aside.version, "not what was registered")
        stage.registry.retire(RIDGE, away.version)
        stage.sql.upkeep.retain(0)

        for version, said in ((missing, "is missing"), (aside, "in quarantine"), (away, "put away")):
            with pytest.raises(VersionUnfit, match=said):
                self._start(stage, champion, version)
        assert stage.store.open() == []

    def test_refuses_features_that_are_not_computed_any_more(self, stage: Stage) -> None:
        champion, other = stage.reign(0.1), stage.save(0.1)
        stage.features.get_feature_names = lambda: ["hint"]  # type: ignore[method-assign]
        stage.experiments = stage.replica()

        with pytest.raises(VersionUnfit, match="features that are not computed any more"):
            self._start(stage, champion, other)

    def test_gives_no_caller_what_has_no_certificate_unless_it_answers_already(self, stage: Stage) -> None:
        from dataclasses import replace

        champion = stage.reign(0.1)
        leaky = stage.registry.save_model(
            replace(stage.save(0.1), certificate={"problems": ["purge too short"]}, model=_model())
        )

        with pytest.raises(NotCertified, match="purge too short"):
            self._start(stage, champion, leaky)
        stage.registry.promote(RIDGE, leaky.version)
        assert self._start(stage, champion, leaky).version_b == leaky.version

    def test_one_at_a_time_and_the_next_when_its_time_is_up_though_nobody_watched(self, stage: Stage) -> None:
        a, b = stage.reign(0.1), stage.save(0.1)
        first = self._start(stage, a, b, days=1)
        with pytest.raises(ExperimentOpen, match=first.experiment_id):
            self._start(stage, b, a)
        stage.client.now += 25 * HOUR

        second = self._start(stage, b, a)

        ended = stage.store.get(first.experiment_id)
        assert ended.result is not None
        assert (ended.result["why"], ended.ended_at) == ("no_difference", first.ends_at)
        assert stage.store.open() == [second]


def _model() -> Any:
    from tests.support.stage import model_of

    return model_of(0.1)
