"""The database on the command line: its state, copies and backups, from one folder to another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clm.registry.backup import back_up
from clm.registry.migrate import HEAD
from clm.registry.sql import SQLModelRegistry
from tests.support.exchange import serving, simulated
from tests.support.postgres import fresh_database
from tests.support.schema import contents_of, upgrade_to
from tests.support.shell import Shell, shell_in
from tests.support.versions import BTC, candidate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder with one completed run and its exchange."""
    with serving(simulated()) as exchange:
        shell = shell_in(tmp_path_factory.mktemp("database"), exchange)
        done = shell("retrain")
        assert done.returncode == 0, done.stderr
        yield shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"COLUMNS": "160", "CLM_LOG_LEVEL": "error"})


class TestStatus:
    def test_of_nothing_says_what_to_do_and_makes_nothing(self, shell: Shell) -> None:
        done = shell("db", "status")

        assert (done.returncode, "has no tables of CLM: `clm db upgrade`" in done.stdout) == (1, True)
        assert list(shell.folder.iterdir()) == []

    def test_of_an_older_database_sends_to_the_upgrade(self, shell: Shell) -> None:
        upgrade_to(f"sqlite:///{shell.folder}/clm.db", "0001")

        before = shell("db", "status")
        shell("db", "upgrade")
        after = shell("db", "status")

        assert (before.returncode, f"revision 0001, this CLM works with {HEAD}" in before.stdout) == (1, True)
        assert (after.returncode, after.stdout) == (
            0,
            f"sqlite:///clm.db is at revision {HEAD}: up to date\n",
        )
        assert shell.json("db", "status") == {
            "database": "sqlite:///clm.db", "revision": HEAD, "head": HEAD, "up_to_date": True,
        }  # fmt: skip


class TestDowngrade:
    def test_asks_first_and_goes_back_when_told(self, shell: Shell) -> None:
        shell("db", "upgrade")

        asked = shell("db", "downgrade", "0002")
        told = shell("db", "downgrade", "0002", "--yes")

        assert (asked.returncode, "take a backup first" in asked.stdout) == (1, True)
        assert (told.returncode, told.stdout) == (0, "sqlite:///clm.db is at revision 0002\n")
        assert shell("db", "status").returncode == 1

    def test_to_somewhere_unknown_names_what_is_known(self, shell: Shell) -> None:
        done = shell("db", "downgrade", "yesterday", "--yes")

        assert (done.returncode, "base, 0001, 0002" in done.stderr) == (2, True)


class TestCopy:
    def test_to_postgresql_and_back_decisions_come_out_the_same(self, trained: Shell) -> None:
        with fresh_database() as server:
            there = trained("db", "copy", "--to", server)
            back = trained.json("db", "copy", "--from", server, "--to", "sqlite:///back.db")
            decided = trained.json("decisions", CLM_DB_URL=server)
            verified = trained("verify", CLM_DB_URL=server)
            explained = [
                trained.json("explain-decision", str(d["id"]), CLM_DB_URL=server)["same"] for d in decided
            ]

        assert there.returncode == 0, there.stderr
        assert "rows in 17 tables from sqlite:///clm.db to postgresql" in there.stdout
        assert all(table["sha256"][:16] in there.stdout for table in back["tables"])
        assert contents_of(f"sqlite:///{trained.folder}/back.db") == contents_of(
            f"sqlite:///{trained.folder}/clm.db"
        )
        assert decided == trained.json("decisions")
        assert (verified.returncode, explained) == (0, [True, True])

    def test_into_a_database_with_rows_is_refused_by_table(self, trained: Shell) -> None:
        done = trained(
            "db", "copy", "--from", "sqlite:///clm.db", "--to", f"sqlite:///{trained.folder}/clm.db"
        )

        # The first of them all: what is to be told of promotions.
        assert (done.returncode, "clm_alerts has " in done.stderr) == (1, True)

    def test_a_password_is_not_repeated(self, trained: Shell) -> None:
        done = trained("db", "copy", "--to", "postgresql+psycopg://clm:s3cret@127.0.0.1:9/clm")

        assert done.returncode == 1
        assert "s3cret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


class TestBackup:
    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_and_restore_into_another_place(self, trained: Shell, tmp_path: Path, kind: str) -> None:
        taken = trained("backup", str(tmp_path / "backup"))
        again = trained("backup", str(tmp_path / "backup"))
        with ExitStack() as stack:
            url = (
                stack.enter_context(fresh_database())
                if kind == "postgresql"
                else f"sqlite:///{tmp_path}/new.db"
            )
            there = {"CLM_DB_URL": url, "CLM_MODEL_DIR": str(tmp_path / "new")}
            restored = trained("restore", str(tmp_path / "backup"), **there)
            refused = trained("restore", str(tmp_path / "backup"), **there)
            verified = trained("verify", **there)
            models = trained.json("models", **there)

        assert taken.returncode == 0, taken.stderr
        assert "and 2 model files" in taken.stdout
        assert (again.returncode, "is there already" in again.stderr) == (1, True)
        assert restored.returncode == 0, restored.stderr
        assert "verified: every version is present, intact and loadable" in restored.stdout
        assert (refused.returncode, "is not empty" in refused.stderr) == (1, True)
        assert verified.returncode == 0
        assert models == trained.json("models")

    def test_as_json_is_its_manifest(self, trained: Shell, tmp_path: Path) -> None:
        said = trained.json("backup", str(tmp_path / "backup"))

        assert said == json.loads((tmp_path / "backup" / "manifest.json").read_text())
        assert {name.partition("/")[0] for name in said["files"]} == {"clm.db", "models"}

    def test_that_does_not_verify_is_restored_and_said(self, trained: Shell, tmp_path: Path) -> None:
        """A model family that is not installed here: the rows are back, and the exit code tells."""
        trained("backup", str(tmp_path / "backup"))
        there = {"CLM_DB_URL": f"sqlite:///{tmp_path}/new.db", "CLM_MODEL_DIR": str(tmp_path / "new")}
        url = f"sqlite:///{tmp_path}/ridge.db"
        with SQLModelRegistry(url, tmp_path / "ridge", series=BTC) as registry:
            registry.save_model(candidate())
        back_up(url, tmp_path / "ridge", tmp_path / "other")

        done = trained("restore", str(tmp_path / "other"), PYTHONPATH=_without_plugins(), **there)

        assert done.returncode == 1
        assert "BTCUSDT 1h sklearn_ridge v20240501_000000" in done.stderr
        assert "restored to" in done.stdout


def _without_plugins() -> str:
    return os.pathsep.join(
        part for part in os.environ["PYTHONPATH"].split(os.pathsep) if not part.endswith("plugins")
    )
