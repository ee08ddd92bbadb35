"""Versions, champions, rollbacks: one transaction each, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from clm.core.domain import Decision, Outcome, VersionStatus
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadInput,
    ChampionChanged,
    StorageFailed,
    VersionNotFound,
)
from clm.registry.sql import SQLModelRegistry
from clm.registry.tables import decisions, versions
from tests.support.frames import feature_frame
from tests.support.versions import BTC, ETH, T0, candidate

RIDGE = "sklearn_ridge"


def _saved(registry: SQLModelRegistry, *days: int) -> list[str]:
    return [registry.save_model(candidate(day)).version for day in days]


def _status(registry: SQLModelRegistry) -> dict[str, str]:
    return {v.version: str(v.status) for v in registry.get_model_history(RIDGE, limit=100)}


class TestSaving:
    def test_what_was_saved_is_read_back_whole(self, registry: SQLModelRegistry) -> None:
        given = candidate()

        stored = registry.save_model(given)

        written = {
            "file_path": stored.file_path, "artifact_sha256": stored.artifact_sha256, "model": None,
        }  # fmt: skip
        assert stored == replace(given, **written)
        assert stored.status is VersionStatus.CANDIDATE
        assert registry.get_model_history(RIDGE) == [stored]

    def test_the_model_comes_back_and_answers_alike(self, registry: SQLModelRegistry) -> None:
        given, frame = candidate(), feature_frame(50, 4)

        back = registry.load_model(registry.save_model(given))

        assert given.model is not None
        assert np.array_equal(back.predict(frame), given.model.predict(frame))

    def test_a_second_version_of_the_same_second_gets_a_suffix(self, registry: SQLModelRegistry) -> None:
        assert _saved(registry, 0, 0, 0) == [
            "v20240501_000000", "v20240501_000000_2", "v20240501_000000_3",
        ]  # fmt: skip

    def test_two_model_types_and_two_series_share_a_version_name(self, registry: SQLModelRegistry) -> None:
        one = registry.save_model(candidate())
        other_type = registry.save_model(candidate(model_type="lightgbm"))
        other_series = registry.for_series(ETH).save_model(candidate(series=ETH))

        assert one.version == other_type.version == other_series.version
        assert len({one.file_path, other_type.file_path, other_series.file_path}) == 3
        assert registry.verify() == []

    def test_savers_at_the_same_moment_all_succeed_under_names_of_their_own(
        self, registry: SQLModelRegistry
    ) -> None:
        names: list[str] = []
        threads = [
            threading.Thread(target=lambda: names.append(registry.save_model(candidate()).version))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(set(names)) == 6
        assert registry.verify() == []

    def test_a_model_folder_that_cannot_be_written_leaves_no_row(self, db_url: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        registry = SQLModelRegistry(db_url, tmp_path / "file" / "models", series=BTC)

        with pytest.raises(StorageFailed, match="file/models"):
            registry.save_model(candidate())

        assert registry.get_model_history(RIDGE) == []
        registry.close()

    def test_a_row_that_cannot_be_written_leaves_no_file(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        # A length PostgreSQL refuses, and a value SQLite has no type for.
        bad = (
            candidate(seed=2**70)
            if registry.database.engine.dialect.name == "sqlite"
            else candidate(recipe_id="x" * 99)
        )

        with pytest.raises(Exception, match=r"too (large|long)|did not answer"):
            registry.save_model(bad)

        assert list((tmp_path / "models").glob("*_v*")) == []
        assert registry.get_model_history(RIDGE) == []

    def test_a_version_name_that_is_a_path_is_refused(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        with pytest.raises(BadInput, match="letters, digits"):
            registry.save_model(candidate(version="../../evil"))

        assert not list(tmp_path.glob("**/*evil*"))

    def test_a_series_that_is_not_this_registrys_is_refused(self, registry: SQLModelRegistry) -> None:
        with pytest.raises(BadInput, match="ETHUSDT"):
            registry.save_model(candidate(series=ETH))


class TestPromotion:
    def test_a_promotion_retires_the_champion_and_writes_why(self, registry: SQLModelRegistry) -> None:
        old, new = _saved(registry, 0, 1)
        registry.promote(RIDGE, old)
        why = Decision(
            model_type=RIDGE, candidate_version=new, champion_version=old, outcome=Outcome.PROMOTE,
            label="threshold", policy="threshold", reason="3 % better", numbers={"mse_gain": 0.03},
            decided_at=T0,
        )  # fmt: skip

        promoted = registry.promote(
            RIDGE, new, expected_active=old, check_expected=True, decision=why, at=T0 + timedelta(days=1)
        )

        assert (promoted.status, promoted.promoted_at) == (VersionStatus.ACTIVE, T0 + timedelta(days=1))
        assert registry.get_active(RIDGE) == promoted
        assert _status(registry) == {new: "ACTIVE", old: "RETIRED"}
        assert registry.get_decisions(RIDGE)[0] == why
        assert registry.get_decisions(RIDGE)[1].label == "manual"

    def test_series_and_types_have_champions_of_their_own(self, registry: SQLModelRegistry) -> None:
        eth = registry.for_series(ETH)
        registry.promote(RIDGE, registry.save_model(candidate()).version)
        eth.promote(RIDGE, eth.save_model(candidate(1, series=ETH)).version)
        registry.promote("lightgbm", registry.save_model(candidate(2, model_type="lightgbm")).version)

        found = [registry.get_active(RIDGE), eth.get_active(RIDGE), registry.get_active("lightgbm")]
        assert [artifact.trained_at for artifact in found if artifact] == [
            T0, T0 + timedelta(days=1), T0 + timedelta(days=2),
        ]  # fmt: skip

    def test_promoting_the_champion_again_changes_nothing(self, registry: SQLModelRegistry) -> None:
        (version,) = _saved(registry, 0)
        first = registry.promote(RIDGE, version)

        assert registry.promote(RIDGE, version) == first
        assert len(registry.get_decisions()) == 1

    def test_a_champion_other_than_expected_stops_the_promotion(self, registry: SQLModelRegistry) -> None:
        old, new, late = _saved(registry, 0, 1, 2)
        registry.promote(RIDGE, old)
        registry.promote(RIDGE, new)
        decided = len(registry.get_decisions())

        with pytest.raises(ChampionChanged, match=new):
            registry.promote(RIDGE, late, expected_active=old, check_expected=True)
        with pytest.raises(ChampionChanged, match="none"):
            registry.promote(RIDGE, late, expected_active=None, check_expected=True)

        assert _status(registry) == {late: "CANDIDATE", new: "ACTIVE", old: "RETIRED"}
        assert len(registry.get_decisions()) == decided

    def test_of_promotions_at_the_same_moment_exactly_one_wins(self, registry: SQLModelRegistry) -> None:
        names = _saved(registry, *range(8))
        won: list[str] = []
        lost: list[str] = []
        gate = threading.Barrier(len(names))

        def race(version: str) -> None:
            gate.wait()
            try:
                registry.promote(RIDGE, version, expected_active=None, check_expected=True)
                won.append(version)
            except ChampionChanged:
                lost.append(version)

        threads = [threading.Thread(target=race, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        champion = registry.get_active(RIDGE)
        assert champion is not None
        assert won == [champion.version]
        assert len(lost) == 7
        assert [d.candidate_version for d in registry.get_decisions()] == won

    @pytest.mark.parametrize("damage", ["missing", "altered", "cut", "outside"])
    def test_a_damaged_file_is_never_promoted(
        self, registry: SQLModelRegistry, tmp_path: Path, damage: str
    ) -> None:
        old, new = _saved(registry, 0, 1)
        registry.promote(RIDGE, old)
        file = tmp_path / "models" / str(registry.get_model_history(RIDGE)[0].file_path)
        if damage == "missing":
            file.unlink()
        elif damage == "outside":
            (tmp_path / "evil.json").write_bytes(file.read_bytes())
            with registry.database.engine.begin() as connection:
                connection.execute(
                    versions.update().where(versions.c.version == new).values(file_path="../evil.json")
                )
        else:
            raw = file.read_bytes()
            file.write_bytes(raw[:-10] if damage == "cut" else raw.replace(b"1", b"2", 1))

        with pytest.raises(ArtifactMissing if damage == "missing" else ArtifactCorrupt, match=new):
            registry.promote(RIDGE, new)

        assert _status(registry)[old] == "ACTIVE"
        assert [f.version for f in registry.verify() if f.severity == "error"] == [new]

    def test_an_unknown_version_is_named(self, registry: SQLModelRegistry) -> None:
        with pytest.raises(VersionNotFound, match="v1999"):
            registry.promote(RIDGE, "v1999")


class TestGoingBack:
    def test_rollbacks_walk_back_one_by_one_and_then_end(self, registry: SQLModelRegistry) -> None:
        names = _saved(registry, 0, 1, 2)
        for name in names:
            registry.promote(RIDGE, name)

        assert registry.rollback(RIDGE, reason="it lost money").version == names[1]
        assert registry.rollback(RIDGE).version == names[0]
        with pytest.raises(VersionNotFound, match="replaced no version"):
            registry.rollback(RIDGE)

        assert _status(registry) == {names[2]: "RETIRED", names[1]: "RETIRED", names[0]: "ACTIVE"}
        said = registry.get_decisions()[1]
        assert (said.label, said.candidate_version, said.champion_version) == ("rollback", names[1], names[2])
        assert "it lost money" in said.reason

    def test_promoting_to_and_fro_by_hand_does_not_make_rollbacks_ping_pong(
        self, registry: SQLModelRegistry
    ) -> None:
        one, two = _saved(registry, 0, 1)
        for name in (one, two, one):
            registry.promote(RIDGE, name)

        assert registry.rollback(RIDGE).version == two
        assert registry.rollback(RIDGE).version == one
        with pytest.raises(VersionNotFound):
            registry.rollback(RIDGE)

    def test_a_predecessor_that_does_not_load_is_passed_over(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        names = _saved(registry, 0, 1, 2)
        stored = {name: registry.promote(RIDGE, name) for name in names}
        (tmp_path / "models" / str(stored[names[1]].file_path)).unlink()

        assert registry.rollback(RIDGE).version == names[0]

    def test_without_a_sound_predecessor_the_champion_stays(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        names = _saved(registry, 0, 1)
        stored = {name: registry.promote(RIDGE, name) for name in names}
        (tmp_path / "models" / str(stored[names[0]].file_path)).unlink()

        with pytest.raises(VersionNotFound, match=f"not loadable: {names[0]}"):
            registry.rollback(RIDGE)

        assert _status(registry)[names[1]] == "ACTIVE"

    def test_without_a_champion_there_is_nothing_to_roll_back(self, registry: SQLModelRegistry) -> None:
        with pytest.raises(VersionNotFound, match="no champion"):
            registry.rollback(RIDGE)

    def test_a_retired_champion_leaves_no_champion_and_its_reason(self, registry: SQLModelRegistry) -> None:
        (version,) = _saved(registry, 0)
        registry.promote(RIDGE, version)

        retired = registry.retire(RIDGE, version, reason="its features are gone")
        again = registry.retire(RIDGE, version, reason="twice")

        assert retired == again
        assert retired.retired_at is not None
        assert registry.get_active(RIDGE) is None
        assert registry.get_decisions()[0].reason == "its features are gone"

    def test_a_retired_version_can_be_promoted_again(self, registry: SQLModelRegistry) -> None:
        (version,) = _saved(registry, 0)
        registry.promote(RIDGE, version)
        registry.retire(RIDGE, version)

        back = registry.promote(RIDGE, version)

        assert (back.status, back.retired_at) == (VersionStatus.ACTIVE, None)
        assert registry.verify() == []


class TestTheDatabaseItself:
    """Promises that hold even for who writes past our code."""

    def test_there_is_never_a_second_active_version(self, registry: SQLModelRegistry) -> None:
        one, two = _saved(registry, 0, 1)
        registry.promote(RIDGE, one)

        with pytest.raises(IntegrityError), registry.database.engine.begin() as connection:
            connection.execute(versions.update().where(versions.c.version == two).values(status="ACTIVE"))

    def test_a_status_is_one_of_four(self, registry: SQLModelRegistry) -> None:
        _saved(registry, 0)

        with pytest.raises(IntegrityError), registry.database.engine.begin() as connection:
            connection.execute(versions.update().values(status="CHAMPION"))

    @pytest.mark.parametrize("statement", [decisions.delete(), decisions.update().values(reason="better")])
    def test_decisions_are_never_changed(self, registry: SQLModelRegistry, statement: sa.Executable) -> None:
        (version,) = _saved(registry, 0)
        registry.promote(RIDGE, version)

        with pytest.raises(DBAPIError, match="append-only"), registry.database.engine.begin() as connection:
            connection.execute(statement)

        assert len(registry.get_decisions()) == 1


def test_history_is_newest_first_and_as_long_as_asked(registry: SQLModelRegistry) -> None:
    names = _saved(registry, 2, 0, 1)

    assert [v.version for v in registry.get_model_history(RIDGE, limit=2)] == [names[0], names[2]]
    assert registry.get_model_history("xgboost") == []


def test_a_decision_that_changes_nothing_is_kept_all_the_same(registry: SQLModelRegistry) -> None:
    said = Decision(
        model_type=RIDGE, candidate_version="v2", champion_version="v1", outcome=Outcome.CONTINUE,
        label="too_early", policy="threshold", reason="only 3 candles", numbers={"p": None}, decided_at=T0,
    )  # fmt: skip

    registry.record_decision(said)

    assert list(registry.get_decisions()) == [said]
    assert list(registry.get_decisions("xgboost")) == []
    assert list(registry.for_series(ETH).get_decisions()) == []


def test_a_file_without_a_version_is_noted_and_its_name_not_reused(
    registry: SQLModelRegistry, tmp_path: Path
) -> None:
    first = registry.save_model(candidate())
    orphan = tmp_path / "models" / "sklearn_ridge_v20240502_000000_BTCUSDT_1h.json"
    orphan.write_text("left by a crash")

    # All of the same second: each looks for a name of its own.
    more = [registry.save_model(candidate(1)).version for _ in range(4)]

    assert more == [f"v20240502_000000_{n}" for n in (2, 3, 4, 5)]
    assert orphan.read_text() == "left by a crash"
    assert [f.severity for f in registry.verify()] == ["note"]
    assert first.file_path
