"""Files and rows stay in order: damaged ones are set aside, old ones put away, what is needed never goes."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from clm.core.alert import Alert
from clm.core.domain import Decision, ModelArtifact, Outcome, VersionStatus
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, StorageFailed
from clm.core.reign import reign_of
from clm.core.sight import Sight
from clm.registry.experiments import SQLExperiments
from clm.registry.mend import mend
from clm.registry.sql import SQLModelRegistry
from clm.registry.tables import versions
from tests.support.bets import RIDGE
from tests.support.experiments import experiment
from tests.support.versions import BTC, ETH, T0, candidate, small_model

SIGHT = Sight(small_model().feature_names)
NOW = T0 + timedelta(days=400)


def _file(tmp_path: Path, artifact: ModelArtifact) -> Path:
    return tmp_path / "models" / str(artifact.file_path)


def _errors(registry: SQLModelRegistry) -> list[str]:
    return [f.problem for f in registry.verify() if f.severity == "error"]


def _notes(registry: SQLModelRegistry) -> list[str]:
    return [f.problem for f in registry.verify() if f.severity == "note"]


class TestARowThatNamesAFileElsewhere:
    """Whoever wrote the row: what lies outside the folder is neither read, moved nor deleted."""

    @pytest.mark.parametrize(
        "path", ["../precious_v20240101_000000.json", "../../{name}/precious_v20240101_000000.json"]
    )
    @pytest.mark.parametrize("state", ["in use", "retired", "put away", "in quarantine"])
    def test_upkeep_leaves_that_file_alone(
        self, state: str, path: str, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        precious = tmp_path / "precious_v20240101_000000.json"
        precious.write_bytes(b"somebody else's")
        saved = [registry.save_model(candidate(day)) for day in range(3)]
        for each in saved[:1] if state == "in use" else saved:
            registry.promote(RIDGE, each.version)
        more: dict[str, object] = {"file_path": path.format(name=tmp_path.name)}
        if state == "put away":
            more["pruned_at"] = NOW
        if state == "in quarantine":
            more |= {"quarantined_at": NOW, "quarantine_reason": "odd"}
        with registry.database.writing() as connection:
            connection.execute(versions.update().where(versions.c.version == saved[0].version).values(**more))

        registry.upkeep.retain(0)
        mend(registry, SIGHT, NOW, lambda alert: None)
        registry.upkeep.retain(0)
        registry.upkeep.take_back()

        assert precious.read_bytes() == b"somebody else's"
        assert not list(tmp_path.glob("**/quarantine/precious*"))

    def test_a_link_among_the_models_is_none_of_them(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        registry.save_model(candidate())
        precious = tmp_path / "precious"
        precious.write_bytes(b"somebody else's")
        link = tmp_path / "models" / "sklearn_ridge_v20240101_000000_BTCUSDT_1h.json"
        link.symlink_to(precious)
        os.utime(link, (0, 0), follow_symlinks=False)

        assert registry.upkeep.set_orphans_aside() == []
        assert precious.read_bytes() == b"somebody else's"

    def test_a_pipe_in_the_place_of_a_model_is_said_at_once(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        saved = registry.save_model(candidate())
        for file in (_file(tmp_path, saved), tmp_path / "models" / ".clm-models"):
            file.unlink()
            os.mkfifo(file)

        with pytest.raises(ArtifactCorrupt, match="is no model"):
            registry.load_model(saved)
        with pytest.raises(StorageFailed, match="no regular file"):
            registry.folder.require()


class TestQuarantine:
    def test_a_version_set_aside_loads_no_more_and_says_why(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        saved = registry.save_model(candidate())
        _file(tmp_path, saved).write_bytes(b"altered")

        aside = registry.quarantine(RIDGE, saved.version, "not what was registered")
        registry.quarantine(RIDGE, saved.version, "again")

        assert aside.quarantine_reason == "not what was registered"
        with pytest.raises(ArtifactCorrupt, match="in quarantine: not what was registered"):
            registry.load_model(aside)
        with pytest.raises(ArtifactCorrupt, match="in quarantine"):
            registry.promote(RIDGE, saved.version)
        assert not _file(tmp_path, saved).exists()
        (kept,) = (tmp_path / "models" / "quarantine").iterdir()
        assert kept.read_bytes() == b"altered"
        assert _errors(registry) == []
        assert "in quarantine since" in _notes(registry)[0]

    def test_ends_when_the_file_is_back_as_it_was_registered(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        saved = registry.save_model(candidate())
        whole = _file(tmp_path, saved).read_bytes()
        _file(tmp_path, saved).unlink()
        registry.quarantine(RIDGE, saved.version, "missing")
        assert registry.upkeep.take_back() == []
        _file(tmp_path, saved).write_bytes(whole)

        (back,) = registry.upkeep.take_back()

        assert back.version == saved.version
        registry.promote(RIDGE, saved.version)

    def test_a_model_folder_that_is_gone_as_a_whole_is_no_fault_of_its_versions(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        saved = registry.save_model(candidate())
        (tmp_path / "models").rename(tmp_path / "unmounted")
        (tmp_path / "models").mkdir()

        with pytest.raises(StorageFailed, match="is its disk mounted"):
            registry.load_model(saved)
        assert mend(registry, SIGHT, T0, lambda alert: None) == []

        assert registry.get_version(RIDGE, saved.version).quarantined_at is None

    def test_a_replica_with_a_folder_of_its_own_is_told_so_and_takes_nobody_down(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        champion = registry.promote(RIDGE, registry.save_model(candidate()).version)
        url = registry.database.engine.url.render_as_string(hide_password=False)
        with SQLModelRegistry(url, tmp_path / "own", series=BTC) as replica:
            with pytest.raises(StorageFailed, match="do all services share it"):
                replica.load_model(champion)
            with pytest.raises(StorageFailed, match="do all services share it"):
                replica.save_model(candidate(1))
            assert reign_of(registry, RIDGE, SIGHT, NOW, lambda alert: None) is not None

        assert [a.version for a in registry.get_model_history(RIDGE)] == [champion.version]
        assert not (tmp_path / "own").exists()

    def test_a_folder_that_was_moved_is_adopted_once_all_its_files_are_there(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        saved = [registry.save_model(candidate(day)) for day in range(2)]
        url = registry.database.engine.url.render_as_string(hide_password=False)
        moved = tmp_path / "moved"
        moved.mkdir()
        with SQLModelRegistry(url, moved, series=BTC) as elsewhere:
            shutil.copy(_file(tmp_path, saved[0]), moved)
            assert not elsewhere.folder.adopt()
            shutil.copy(_file(tmp_path, saved[1]), moved)

            done = mend(elsewhere, SIGHT, T0, lambda alert: None)

            assert done == ["the model folder was adopted: all files are there"]
            elsewhere.load_model(saved[0])
            elsewhere.save_model(candidate(5))


class TestRetention:
    def _history(self, registry: SQLModelRegistry, days: int) -> list[ModelArtifact]:
        """A promotion a day."""
        return [
            registry.promote(
                RIDGE,
                registry.save_model(candidate(day, series=registry.series)).version,
                at=T0 + timedelta(days=day),
            )
            for day in range(days)
        ]

    def test_puts_away_files_of_old_retired_versions_and_keeps_rows_and_evidence(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        versions = self._history(registry, 6)

        gone = registry.upkeep.retain(3)

        assert sorted(gone) == sorted(str(v.file_path) for v in versions[:3])
        left = {path.name for path in (tmp_path / "models").glob("*_v*")}
        assert left == {str(v.file_path) for v in versions[3:]}
        history = registry.get_model_history(RIDGE, limit=20)
        assert len(history) == 6
        assert [v.pruned_at is not None for v in history] == [False] * 3 + [True] * 3
        assert len(registry.get_decisions(RIDGE)) == 6
        assert _errors(registry) == []
        with pytest.raises(ArtifactMissing, match="put away by retention"):
            registry.promote(RIDGE, versions[0].version)
        assert registry.upkeep.retain(3) == []

    def test_never_takes_the_champion_what_it_replaced_or_what_is_in_shadow(
        self, registry: SQLModelRegistry
    ) -> None:
        first, second, *_, last = self._history(registry, 5)
        registry.promote(RIDGE, second.version)
        registry.promote(RIDGE, first.version)
        shadow = registry.save_model(candidate(-5))
        said = Decision(
            model_type=RIDGE, candidate_version=shadow.version, champion_version=first.version,
            outcome=Outcome.CONTINUE, label="evidence", policy="evidence", reason="not yet",
        )  # fmt: skip
        registry.record_decision(said, VersionStatus.SHADOW)
        waiting = registry.save_model(candidate(-6))

        registry.upkeep.retain(1)

        for needed in (first, second, shadow, waiting, last):
            registry.load_model(registry.get_version(RIDGE, needed.version))
        registry.rollback(RIDGE)

    def test_never_takes_an_arm_of_an_open_experiment_nor_more_than_before_beside_one(
        self, registry: SQLModelRegistry
    ) -> None:
        a, b, c, d, guarded, champion = (v.version for v in self._history(registry, 6))
        store = SQLExperiments(registry.database)
        store.create(experiment(version_a=champion, version_b=a))
        other = registry.for_series(ETH)
        same_name = self._history(other, 6)[0]

        registry.upkeep.retain(1)
        beside = [registry.get_version(RIDGE, v).pruned_at is not None for v in (a, b, c, d, guarded)]
        elsewhere = other.get_version(RIDGE, same_name.version).pruned_at
        store.end("x1", T0, {})
        registry.upkeep.retain(1)

        assert beside == [False, True, True, True, False]
        assert elsewhere is not None
        assert registry.get_version(RIDGE, a).pruned_at is not None

    def test_counts_each_series_by_itself(self, registry: SQLModelRegistry) -> None:
        self._history(registry, 3)
        other = registry.for_series(ETH)
        self._history(other, 3)

        registry.upkeep.retain(2)

        for one in (registry, other):
            assert [v.pruned_at is None for v in one.get_model_history(RIDGE)] == [True, True, False]

    def test_finishes_what_a_crash_left_between_row_and_file(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        old = self._history(registry, 3)[0]
        content = _file(tmp_path, old).read_bytes()
        registry.upkeep.retain(2)
        _file(tmp_path, old).write_bytes(content)

        assert registry.upkeep.retain(2) == [old.file_path]
        assert not _file(tmp_path, old).exists()


class TestMending:
    def test_lets_the_last_good_version_answer_for_a_damaged_champion_and_raises_an_alert(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        good = registry.promote(RIDGE, registry.save_model(candidate()).version, at=T0)
        lost = registry.promote(RIDGE, registry.save_model(candidate(1)).version, at=T0 + timedelta(days=1))
        _file(tmp_path, lost).write_bytes(b"scribbled over")
        alerts: list[Alert] = []
        assert len(_errors(registry)) == 1

        done = mend(registry, SIGHT, NOW, alerts.append)

        active = registry.get_active(RIDGE)
        assert active is not None
        assert active.version == good.version
        assert any("set aside" in sentence for sentence in done)
        assert [(a.kind, a.subject) for a in alerts] == [("champion_unfit", lost.version)]
        assert _errors(registry) == []
        assert mend(registry, SIGHT, NOW, alerts.append) == []

    def test_with_nothing_to_fall_back_on_the_champion_is_retired(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        only = registry.promote(RIDGE, registry.save_model(candidate()).version, at=T0)
        _file(tmp_path, only).unlink()
        alerts: list[Alert] = []

        mend(registry, SIGHT, NOW, alerts.append)

        assert registry.get_active(RIDGE) is None
        assert [a.kind for a in alerts] == ["champion_unfit"]
        assert _errors(registry) == []

    def test_a_version_that_was_rolled_back_does_not_come_back_though_no_other_is_left(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        good = registry.promote(RIDGE, registry.save_model(candidate()).version, at=T0)
        bad = registry.promote(RIDGE, registry.save_model(candidate(1)).version, at=T0 + timedelta(days=1))
        registry.rollback(RIDGE, at=T0 + timedelta(days=2))
        last = registry.promote(RIDGE, registry.save_model(candidate(3)).version, at=T0 + timedelta(days=3))
        for lost in (good, last):
            _file(tmp_path, lost).write_bytes(b"scribbled over")

        mend(registry, SIGHT, NOW, lambda alert: None)

        assert registry.get_active(RIDGE) is None
        assert registry.get_decisions(RIDGE)[0].label == "retire"
        registry.load_model(registry.get_version(RIDGE, bad.version))

    def test_sets_old_files_without_a_version_aside_and_leaves_fresh_ones_to_their_writer(
        self, registry: SQLModelRegistry, tmp_path: Path
    ) -> None:
        registry.save_model(candidate())
        old = tmp_path / "models" / "sklearn_ridge_v20200101_000000_BTCUSDT_1h.json"
        fresh = tmp_path / "models" / "sklearn_ridge_v20200102_000000_BTCUSDT_1h.json"
        for file in (old, fresh):
            file.write_text("orphan")
        yesterday = time.time() - 86_400
        os.utime(old, (yesterday, yesterday))

        done = mend(registry, SIGHT, T0, lambda alert: None)

        assert done == [f"file without a version set aside: {old.name}"]
        assert registry.upkeep.orphans() == [fresh.name]

    @pytest.mark.parametrize(("now", "retired"), [(T0 + timedelta(hours=5), False), (NOW, True)])
    def test_retires_candidates_of_workers_that_died_once_they_are_surely_gone(
        self, registry: SQLModelRegistry, now: datetime, retired: bool
    ) -> None:
        left = registry.save_model(candidate())

        mend(registry, SIGHT, now, lambda alert: None)

        status = registry.get_version(RIDGE, left.version).status
        assert status is (VersionStatus.RETIRED if retired else VersionStatus.CANDIDATE)
        assert [d.label for d in registry.get_decisions(RIDGE)] == (["abandoned"] if retired else [])
