"""What one process lacks is no fault of a version: it is said, nothing is retired, and others go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clm.core import plugins
from clm.core.alert import Alert
from clm.core.answers import KnownAnswer, keep_answer
from clm.core.domain import ModelArtifact
from clm.core.errors import UnreadableHere
from clm.core.reign import load_fit, reign_of
from clm.core.sight import Sight
from clm.features.engineer import QuantumFeatureEngineer
from clm.registry.mend import mend
from clm.registry.sql import SQLModelRegistry
from tests.support.bets import RIDGE
from tests.support.frames import feature_frame
from tests.support.versions import T0, candidate, small_model

ROWS = feature_frame(300, 4)
NOW = T0 + timedelta(days=1)
SIGHT = Sight(small_model().feature_names)


def known(model_type: str = RIDGE) -> dict[str, Any]:
    return KnownAnswer.of(small_model(model_type), ROWS).to_json()


def lying(model_type: str = RIDGE) -> dict[str, Any]:
    """What a library might have answered that understands the file otherwise."""
    true = KnownAnswer.of(small_model(model_type), ROWS)
    return replace(true, answers=true.answers + 0.00275).to_json()


@pytest.fixture
def misread(registry: SQLModelRegistry, tmp_path: Path) -> Iterator[tuple[SQLModelRegistry, ModelArtifact]]:
    """A champion whose file is intact, and answers otherwise here than where it was made."""
    made = {"numpy": "9.9", "sklearn": "0.1"}
    saved = registry.save_model(candidate(library_versions=made))
    champion = registry.promote(RIDGE, saved.version)
    registry.keep_answer(RIDGE, champion.version, lying())
    # A process of its own: whoever has read a file once knows what came of it.
    with SQLModelRegistry(_url(registry), tmp_path / "models", series=registry.series) as mine:
        yield mine, mine.get_version(RIDGE, champion.version)


def _url(registry: SQLModelRegistry) -> str:
    return registry.database.engine.url.render_as_string(hide_password=False)


def unheard(alert: Alert) -> None:
    raise AssertionError(f"nothing is to be told: {alert}")


@pytest.mark.parametrize("model_type", [RIDGE, "xgboost", "lightgbm"])
def test_a_version_that_answers_as_it_did_loads(registry: SQLModelRegistry, model_type: str) -> None:
    saved = registry.save_model(candidate(model_type=model_type, known_answer=known(model_type)))

    assert saved.known_answer == known(model_type)
    assert registry.load_model(saved).feature_names == small_model(model_type).feature_names


@pytest.mark.parametrize("model_type", [RIDGE, "xgboost", "lightgbm"])
def test_one_that_answers_otherwise_does_not_and_says_by_which_libraries(
    registry: SQLModelRegistry, model_type: str
) -> None:
    made = {"xgboost": "3.2.0"}
    saved = registry.save_model(
        candidate(model_type=model_type, known_answer=lying(model_type), library_versions=made)
    )

    for _ in range(2):
        with pytest.raises(
            UnreadableHere, match=r"bp instead of .* bp; made with xgboost 3\.2\.0, read with"
        ):
            registry.load_model(saved)
    with pytest.raises(UnreadableHere):
        registry.promote(model_type, saved.version)


class TestAMisreadChampion:
    def test_does_not_serve_here_and_stays_for_all_others(
        self, misread: tuple[SQLModelRegistry, ModelArtifact]
    ) -> None:
        registry, champion = misread

        model, unfit = load_fit(registry, champion, SIGHT)

        assert (model, unfit and unfit.here, unfit and unfit.damaged) == (None, True, False)
        with pytest.raises(UnreadableHere):
            reign_of(registry, RIDGE, SIGHT, NOW, unheard)
        assert registry.get_version(RIDGE, champion.version) == champion
        assert registry.get_decisions(RIDGE)[0].label == "manual"

    def test_is_an_error_of_verify_that_fix_leaves_alone(
        self, misread: tuple[SQLModelRegistry, ModelArtifact]
    ) -> None:
        registry, champion = misread

        (finding,) = [f for f in registry.verify() if f.severity == "error"]
        done = mend(registry, SIGHT, NOW, unheard)

        assert "answers otherwise here than where it was made" in finding.problem
        assert not finding.damaged
        assert done == [f"{finding.problem}; nothing was changed"]
        assert registry.get_active(RIDGE) == champion


class TestALackOfThisProcess:
    def test_a_reader_that_fails_over_the_registered_bytes_quarantines_nothing(
        self, registry: SQLModelRegistry
    ) -> None:
        broken = replace(candidate(), model=_Bytes(b"no json"))
        saved = registry.save_model(broken)

        with pytest.raises(UnreadableHere, match="is intact, but this process cannot read it"):
            registry.load_model(saved)

        assert registry.get_version(RIDGE, saved.version).quarantined_at is None

    def test_a_family_that_is_not_installed_here_is_named(self, registry: SQLModelRegistry) -> None:
        saved = registry.save_model(replace(candidate(), model_type="catboost", model=_Bytes(b"{}")))

        with pytest.raises(UnreadableHere, match="catboost"):
            registry.load_model(saved)

    def test_features_that_only_a_setting_leaves_out_retire_nobody(self, registry: SQLModelRegistry) -> None:
        basic, every = QuantumFeatureEngineer(use_advanced=False), QuantumFeatureEngineer()
        assert Sight.of(every).why_not(["nobody_computes_this"]) is None
        assert Sight.of(every).why_not(["return_1@3"]) == "none of its model types looks back on them"

        more = [name for name in every.get_feature_names() if name not in basic.get_feature_names()]

        assert Sight.of(basic).why_not(more) == "CLM_FEATURES=basic"


class _Bytes:
    """A model that is nothing but its file."""

    model_type, suffix, feature_names = RIDGE, ".json", ("a",)
    params: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def to_bytes(self) -> bytes:
        return self._raw


class TestVersionsOfBefore:
    def test_are_given_an_answer_by_the_libraries_that_made_them(self, registry: SQLModelRegistry) -> None:
        made = dict(plugins.model_family(RIDGE).library_versions())
        saved = registry.save_model(candidate(library_versions=made))

        keep_answer(registry, saved, registry.load_model(saved), ROWS)

        kept = registry.get_version(RIDGE, saved.version)
        assert kept.known_answer == known()
        keep_answer(registry, kept, registry.load_model(kept), ROWS.iloc[:50])
        assert registry.get_version(RIDGE, saved.version).known_answer == known()

    @pytest.mark.parametrize("made", [{}, {"numpy": "1.0"}])
    def test_but_by_no_others(self, registry: SQLModelRegistry, made: dict[str, str]) -> None:
        saved = registry.save_model(candidate(library_versions=made))

        keep_answer(registry, saved, registry.load_model(saved), ROWS)

        assert registry.get_version(RIDGE, saved.version).known_answer is None
