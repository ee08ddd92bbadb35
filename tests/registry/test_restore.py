"""What a backup brings back is what was, in an empty place and nowhere else."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clm.core.domain import Progress
from clm.core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    BadData,
    ClmError,
    DatabaseTooNew,
    NotEmpty,
    NotFound,
    StorageFailed,
)
from clm.registry.migrate import HEAD, revision_of
from clm.registry.restore import restore
from clm.registry.sql import SQLModelRegistry
from tests.support.backups import RIDGE, backup_of, hashes, write_manifest
from tests.support.postgres import fresh_database
from tests.support.schema import assert_guarded, contents_of, filled, upgrade_to
from tests.support.versions import BTC, candidate


@contextmanager
def _empty(kind: str, folder: Path) -> Iterator[str]:
    with ExitStack() as stack:
        yield f"sqlite:///{folder}/new.db" if kind == "sqlite" else stack.enter_context(fresh_database())


class TestRestoring:
    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_brings_back_every_row_and_file_guarded_as_before(
        self, registry: SQLModelRegistry, db_url: str, kind: str, tmp_path: Path
    ) -> None:
        folder = backup_of(registry, db_url, tmp_path)
        before, files = contents_of(db_url), hashes(folder)
        with _empty(kind, tmp_path) as new:
            heard: list[Progress] = []

            restore(new, tmp_path / "new", folder, heard.append)

            assert contents_of(new) == before
            assert {p.message for p in heard} >= {"bringing models back", "copying clm_decisions"}
            with SQLModelRegistry(new, tmp_path / "new", series=BTC) as back:
                assert [f.severity for f in back.verify()] == ["note"] * 3
                champion = back.get_active(RIDGE)
                assert champion == registry.get_active(RIDGE)
                assert back.rollback(RIDGE).version == champion.replaced_version
                back.save_model(candidate(30))
            assert_guarded(new)
        assert hashes(folder) == files

    def test_of_an_older_clms_backup_brings_it_up_to_date(self, tmp_path: Path) -> None:
        folder, new = tmp_path / "backup", f"sqlite:///{tmp_path}/new.db"
        folder.mkdir()
        upgrade_to(f"sqlite:///{folder}/clm.db", "0002")
        filled(f"sqlite:///{folder}/clm.db")
        _with_files(folder)
        before = contents_of(f"sqlite:///{folder}/clm.db")
        write_manifest(folder, revision="0002")

        restore(new, tmp_path / "new", folder)

        assert revision_of(new) == HEAD
        after = contents_of(new)
        for table, rows in before.items():
            assert all(row.items() <= after[table][number].items() for number, row in rows.items())
        assert revision_of(f"sqlite:///{folder}/clm.db") == "0002"

    def test_cut_off_it_is_simply_begun_again(
        self, registry: SQLModelRegistry, db_url: str, tmp_path: Path
    ) -> None:
        folder, new = backup_of(registry, db_url, tmp_path), f"sqlite:///{tmp_path}/new.db"

        def interrupt(progress: Progress) -> None:
            if progress.message == "copying clm_model_versions":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            restore(new, tmp_path / "new", folder, interrupt)
        assert sum(map(len, contents_of(new).values())) == 0

        restore(new, tmp_path / "new", folder)
        assert contents_of(new) == contents_of(db_url)
        with pytest.raises(NotEmpty, match="clm_alerts has 5 rows"):
            restore(new, tmp_path / "new", folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup, to be copied."""
    place = tmp_path_factory.mktemp("made")
    url = f"sqlite:///{place}/clm.db"
    with SQLModelRegistry(url, place / "models", series=BTC) as registry:
        return backup_of(registry, url, place)


class TestRestoringIsRefused:
    @pytest.fixture
    def folder(self, made: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(made, tmp_path / "backup"))

    @pytest.fixture
    def new(self, folder: Path, tmp_path: Path) -> Iterator[str]:
        """Nothing may appear at this database's URL, nor in the model folder."""
        url = f"sqlite:///{tmp_path}/new.db"
        yield url
        assert not (tmp_path / "new.db").exists()
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("name", ["clm.db", "models"])
    @pytest.mark.parametrize("damage", ["altered", "missing"])
    def test_where_a_file_is_not_the_one_that_was_backed_up(
        self, folder: Path, new: str, tmp_path: Path, name: str, damage: str
    ) -> None:
        file = folder / name if name == "clm.db" else sorted((folder / name).iterdir())[-1]
        if damage == "altered":
            file.write_bytes(file.read_bytes()[:-1] + b"!")
        else:
            file.unlink()
        with pytest.raises(
            (ArtifactCorrupt, ArtifactMissing), match=r"not the file that was backed up|is missing"
        ):
            restore(new, tmp_path / "new", folder)

    def test_where_there_is_no_backup(self, folder: Path, new: str, tmp_path: Path) -> None:
        (folder / "manifest.json").unlink()
        for nothing in (folder, tmp_path / "nowhere", folder / "clm.db"):
            with pytest.raises(NotFound, match=r"it has no manifest\.json"):
                restore(new, tmp_path / "new", nothing)

    @pytest.mark.parametrize(
        "said",
        [
            {"format": 2},
            {"files": {}},
            {"files": {"models/../../etc/passwd": {"bytes": 1, "sha256": "0"}}},
            {"files": {"/etc/passwd": {"bytes": 1, "sha256": "0"}}},
            {"tables": "many"},
            {"surprise": 1},
        ],
    )
    def test_where_the_manifest_makes_no_sense(
        self, folder: Path, new: str, tmp_path: Path, said: dict[str, Any]
    ) -> None:
        write_manifest(folder, **said)
        with pytest.raises(BadData, match=r"manifest\.json"):
            restore(new, tmp_path / "new", folder)

    def test_where_the_manifest_is_no_json(self, folder: Path, new: str, tmp_path: Path) -> None:
        (folder / "manifest.json").write_text("{")
        with pytest.raises(BadData, match="no manifest of a backup"):
            restore(new, tmp_path / "new", folder)

    def test_where_a_newer_clm_took_it(self, folder: Path, new: str, tmp_path: Path) -> None:
        write_manifest(folder, revision="9999", clm="7.0")
        with pytest.raises(DatabaseTooNew, match=r"CLM 7\.0.*9999"):
            restore(new, tmp_path / "new", folder)

    def test_where_something_is_in_the_way(self, folder: Path, tmp_path: Path) -> None:
        shutil.copyfile(folder / "clm.db", tmp_path / "clm.db")
        with pytest.raises(NotEmpty, match="clm_alerts has"):
            restore(f"sqlite:///{tmp_path}/clm.db", tmp_path / "new", folder)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "lightgbm_v20240501_000000_BTCUSDT_1h.txt").write_text("another's")
        with pytest.raises(NotEmpty, match="not of this backup"):
            restore(f"sqlite:///{tmp_path}/new.db", tmp_path / "new", folder)

        assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_restored_registry_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    url, new = f"sqlite:///{tmp_path}/clm.db", f"sqlite:///{tmp_path}/new.db"
    with SQLModelRegistry(url, tmp_path / "models", series=BTC) as registry:
        folder = backup_of(registry, url, tmp_path)
        restore(new, tmp_path / "new", folder)
        with SQLModelRegistry(new, tmp_path / "new", series=BTC) as back:
            for each in (registry, back):
                day = candidate(40).trained_at + timedelta(hours=1)
                each.promote(RIDGE, each.save_model(candidate(40)).version, at=day)

    left, right = contents_of(url), contents_of(new)
    assert left["clm_model_versions"] == right["clm_model_versions"]
    assert left["clm_decisions"] == right["clm_decisions"]


@pytest.mark.rehearse
class TestCrafted:
    """A backup that somebody has prepared, its hashes right: refused before anything is written."""

    @pytest.fixture
    def backup(self, registry: SQLModelRegistry, db_url: str, tmp_path: Path) -> Path:
        return backup_of(registry, db_url, tmp_path)

    def _refused(self, backup: Path, tmp_path: Path, *words: str) -> None:
        new = f"sqlite:///{tmp_path}/new.db"
        write_manifest(backup)

        with pytest.raises(ClmError) as refused:
            restore(new, tmp_path / "new", backup)

        assert all(word in str(refused.value) for word in words), refused.value
        assert revision_of(new) is None
        assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())

    @pytest.mark.parametrize("path", ["../../precious", "/etc/passwd", "models/x", "", "nothing_of_the_kind"])
    def test_a_row_that_names_a_file_of_somebody_elses(self, path: str, backup: Path, tmp_path: Path) -> None:
        _in(backup, f"UPDATE clm_model_versions SET file_path = '{path}' WHERE id = 4")

        self._refused(backup, tmp_path, "has no such file as", repr(path))

    def test_a_row_with_another_hash_than_its_file_has(self, backup: Path, tmp_path: Path) -> None:
        _in(backup, f"UPDATE clm_model_versions SET artifact_sha256 = '{'0' * 64}' WHERE id = 4")

        self._refused(backup, tmp_path, "has no such file as")

    @pytest.mark.parametrize(
        "statement",
        [
            "ALTER TABLE clm_audit RENAME TO aside; CREATE VIEW clm_audit AS WITH RECURSIVE n(i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n",
            "CREATE TRIGGER clm_another AFTER INSERT ON clm_audit BEGIN DELETE FROM clm_decisions; END",
            "DROP TRIGGER clm_evidence_no_update; CREATE TRIGGER clm_evidence_no_update BEFORE UPDATE ON "
            "clm_evidence BEGIN DELETE FROM clm_decisions; END",
            "CREATE VIRTUAL TABLE clm_more USING fts5(a)",
            "CREATE TABLE clm_more (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1) VIRTUAL)",
        ],
        ids=["a view without end", "a trigger", "a trigger under our name", "a module", "a reckoning"],
    )
    def test_a_database_that_acts(self, statement: str, backup: Path, tmp_path: Path) -> None:
        _in(backup, statement)

        self._refused(backup, tmp_path, "that no CLM makes")

    @pytest.mark.parametrize("name", ["manifest.json", "clm.db"])
    def test_a_pipe_that_nobody_writes_to(self, name: str, backup: Path, tmp_path: Path) -> None:
        write_manifest(backup)
        (backup / name).unlink()
        os.mkfifo(backup / name)

        with pytest.raises(StorageFailed, match="no regular file"):
            restore(f"sqlite:///{tmp_path}/new.db", tmp_path / "new", backup)


def _with_files(backup: Path) -> None:
    """Every version's row has a file, as a backup's have."""
    (backup / "models").mkdir()
    with closing(sqlite3.connect(backup / "clm.db")) as database:
        for name, *_ in database.execute("SELECT file_path FROM clm_model_versions").fetchall():
            (backup / "models" / name).write_bytes(b"a model")
        said = (hashlib.sha256(b"a model").hexdigest(),)
        database.execute("UPDATE clm_model_versions SET artifact_sha256 = ?", said)
        database.commit()


def _in(backup: Path, statements: str) -> None:
    with closing(sqlite3.connect(backup / "clm.db")) as database:
        database.executescript(statements)
        database.commit()
