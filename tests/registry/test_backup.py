"""A backup is whole and sound or is not there, whatever goes on meanwhile."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from clm.core.domain import Progress, VersionStatus
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    DatabaseTooOld,
    NotEmpty,
    NotFound,
    StorageFailed,
    TransientError,
)
from clm.registry.backup import back_up
from clm.registry.manifest import read_manifest
from clm.registry.migrate import HEAD
from clm.registry.restore import restore
from clm.registry.sql import SQLModelRegistry
from tests.support.backups import RIDGE, backup_of, hashes, work
from tests.support.schema import contents_of, upgrade_to
from tests.support.versions import BTC, ETH, candidate
from tests.support.waiting import eventually


def _nothing_but(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} == set(names)


class TestTaking:
    def test_it_holds_the_database_its_model_files_and_the_hash_of_each(
        self, registry: SQLModelRegistry, db_url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "other_v20240101_000000.txt").write_text("nobody's")
        began = datetime.now(UTC)
        folder = backup_of(registry, db_url, tmp_path)

        manifest = read_manifest(folder)
        found = hashes(folder)
        del found["manifest.json"]
        assert {name: stored.sha256 for name, stored in manifest.files.items()} == found
        named = {
            v.file_path
            for v in registry.get_model_history(RIDGE) + registry.for_series(ETH).get_model_history(RIDGE)
            if v.pruned_at is None and v.quarantined_at is None
        }
        assert set(manifest.models) == named
        assert len(named) == 3
        assert (manifest.revision, manifest.clm) == (HEAD, "0.1.0")
        assert began <= manifest.taken_at <= datetime.now(UTC)
        assert {t.name: t.rows for t in manifest.tables}["clm_model_versions"] == 6
        assert _nothing_but(folder, "clm.db", "models", "manifest.json")

    def test_it_may_take_the_place_of_an_empty_folder_only(
        self, registry: SQLModelRegistry, db_url: str, tmp_path: Path
    ) -> None:
        registry.save_model(candidate())
        (tmp_path / "empty").mkdir()
        (tmp_path / "used").mkdir()
        (tmp_path / "used" / "thesis.txt").write_text("ten years of work")
        (tmp_path / "file").write_text("x")

        back_up(db_url, tmp_path / "models", tmp_path / "empty")
        for taken in ("used", "file", "empty"):
            with pytest.raises(NotEmpty, match=taken):
                back_up(db_url, tmp_path / "models", tmp_path / taken)

        assert hashes(tmp_path / "used").keys() == {"thesis.txt"}
        assert len(read_manifest(tmp_path / "empty").models) == 1

    @pytest.mark.parametrize("damage", ["altered", "missing"])
    def test_a_damaged_file_stops_it_until_it_is_set_aside(
        self, registry: SQLModelRegistry, db_url: str, tmp_path: Path, damage: str
    ) -> None:
        work(registry)
        bad = registry.save_model(candidate(20))
        file = tmp_path / "models" / str(bad.file_path)
        if damage == "altered":
            file.write_bytes(file.read_bytes() + b" ")
        else:
            file.unlink()

        with pytest.raises((ArtifactCorrupt, ArtifactMissing), match=r"clm verify --fix"):
            back_up(db_url, tmp_path / "models", tmp_path / "backup")
        assert not (tmp_path / "backup").exists()
        assert not list(tmp_path.glob(".clm-*"))

        registry.quarantine(RIDGE, bad.version, damage)
        assert len(back_up(db_url, tmp_path / "models", tmp_path / "backup").models) == 3

    def test_without_a_database_or_with_an_older_one_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"clm\.db"):
            back_up(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", tmp_path / "backup")
        upgrade_to(f"sqlite:///{tmp_path}/clm.db", "0001")
        with pytest.raises(DatabaseTooOld, match="clm db upgrade"):
            back_up(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", tmp_path / "backup")

        assert not (tmp_path / "backup").exists()

    @pytest.mark.parametrize("room", [64, 40_000])
    def test_a_disk_that_is_full_is_said_and_nothing_is_left(self, tmp_path: Path, room: int) -> None:
        """No file may grow beyond `room` bytes: enough for a model, or not even for that."""
        with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", series=BTC) as registry:
            registry.save_model(candidate())
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(StorageFailed, match=r"File too large|disk I/O error|disk is full"):
                back_up(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", tmp_path / "backup")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert {path.name for path in tmp_path.iterdir()} <= {"clm.db", "clm.db-wal", "clm.db-shm", "models"}


_BUSY = """
import sys; sys.path.insert(0, sys.argv[3])
from clm.registry.sql import SQLModelRegistry
from tests.support.versions import BTC, candidate
registry = SQLModelRegistry(sys.argv[1], sys.argv[2], series=BTC)
day = 0
while True:
    version = registry.save_model(candidate(day % 20)).version
    registry.promote("sklearn_ridge", version)
    if day % 5 == 4:
        registry.rollback("sklearn_ridge")
    if day % 40 == 39:
        registry.upkeep.retain(5)
    if day == 40:
        print("going", flush=True)
    day += 1
"""
_BACKUP = """
import sys
from pathlib import Path
from clm.registry.backup import back_up
print("going", flush=True)
back_up(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""


def _more_than(folder: Path, entries: int) -> bool:
    return len(list(folder.glob("*"))) > entries


@contextmanager
def _busy(db_url: str, models: Path) -> Iterator[None]:
    """A process that saves, promotes, rolls back and puts away, inside."""
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen([sys.executable, "-c", _BUSY, db_url, str(models), root], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        yield
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


class TestWhileOthersWork:
    @pytest.mark.rehearse
    def test_each_backup_is_of_one_moment_and_sound(self, db_url: str, tmp_path: Path) -> None:
        models = tmp_path / "models"
        with _busy(db_url, models):
            for number in range(4):
                back_up(db_url, models, tmp_path / f"backup{number}")

        seen = set()
        for number in range(4):
            url = f"sqlite:///{tmp_path}/restored{number}.db"
            restore(url, tmp_path / f"restored{number}", tmp_path / f"backup{number}")
            with SQLModelRegistry(url, tmp_path / f"restored{number}", series=BTC) as registry:
                assert [f for f in registry.verify() if f.severity == "error"] == []
                history = registry.get_model_history(RIDGE, limit=10_000)
                decided = registry.get_decisions(limit=10_000)
                assert [v.status for v in history].count(VersionStatus.ACTIVE) == 1
                # A promotion is one transaction: the newest decision names the champion of that moment.
                champion = registry.get_active(RIDGE)
                assert champion is not None
                assert decided[0].candidate_version == champion.version
                seen.add(len(decided))
        assert len(seen) == 4

    def test_a_file_that_retention_takes_meanwhile_begins_it_again(
        self, registry: SQLModelRegistry, db_url: str, tmp_path: Path
    ) -> None:
        for day in range(5):
            registry.promote(RIDGE, registry.save_model(candidate(day)).version)
        gone: list[str] = []

        def retain(progress: Progress) -> None:
            gone.extend(registry.upkeep.retain(2))

        manifest = back_up(db_url, tmp_path / "models", tmp_path / "backup", retain)

        assert len(gone) == 3
        assert not set(gone) & manifest.models.keys()
        new = f"sqlite:///{tmp_path}/new.db"
        restore(new, tmp_path / "new", tmp_path / "backup")
        assert contents_of(new) == contents_of(db_url)

    def test_files_that_always_go_are_not_waited_for_for_ever(
        self, registry: SQLModelRegistry, db_url: str, tmp_path: Path
    ) -> None:
        days = iter(range(1000))

        def go_on(progress: Progress) -> None:
            for day in (next(days), next(days), next(days)):
                registry.promote(RIDGE, registry.save_model(candidate(day)).version)
            registry.upkeep.retain(1)

        for day in (next(days), next(days), next(days)):
            registry.promote(RIDGE, registry.save_model(candidate(day)).version)
        with pytest.raises(TransientError, match="try again later"):
            back_up(db_url, tmp_path / "models", tmp_path / "backup", go_on)

        assert not (tmp_path / "backup").exists()

    @pytest.mark.rehearse
    def test_killed_half_way_it_never_has_its_name(self, db_url: str, tmp_path: Path) -> None:
        models, dice, complete = tmp_path / "models", random.Random(1), 0
        with SQLModelRegistry(db_url, models, series=BTC) as registry:
            for day in range(60):
                registry.save_model(candidate(day))
        for number in range(8):
            folder = tmp_path / "backups" / str(number)
            child = subprocess.Popen(
                [sys.executable, "-c", _BACKUP, db_url, str(models), str(folder)], stdout=subprocess.PIPE
            )
            assert child.stdout is not None
            child.stdout.readline()
            # Of each before it there is a whole backup or a beginning of one.
            eventually(partial(_more_than, tmp_path / "backups", number), "a beginning", pause=0.001)
            # Every other one at once, so that also on a quick machine some are not whole.
            time.sleep(dice.uniform(0.0, 0.25) if number % 2 else 0)
            child.send_signal(signal.SIGKILL)
            child.communicate()
            if folder.exists():
                complete += 1
                assert hashes(folder).keys() - {"manifest.json"} == read_manifest(folder).files.keys()

        assert complete < 8
        leftovers = list((tmp_path / "backups").glob(".clm-backup-*"))
        assert leftovers
        hours_ago = time.time() - 7200
        for leftover in leftovers:
            for path in (*leftover.rglob("*"), leftover):
                os.utime(path, (hours_ago, hours_ago))
        back_up(db_url, models, tmp_path / "backups" / "last")
        assert not list((tmp_path / "backups").glob(".clm-backup-*"))
