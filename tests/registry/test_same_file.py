"""A SQLite file that is deleted or replaced while it is in use: nothing is written where it would be lost."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from clm.core.errors import StorageFailed
from clm.core.runs import RunRequest
from clm.registry.database import Database
from clm.registry.engine import require_file
from clm.registry.runs import SQLRunStore
from tests.support.databases import database_of


@pytest.mark.parametrize("pooled", [True, False], ids=["a connection at hand", "none at hand"])
@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_whoever_has_it_open_stops_and_says_so(what: str, pooled: bool, tmp_path: Path) -> None:
    with database_of("sqlite", tmp_path) as url, closing(Database(url)) as database:
        runs, file = SQLRunStore(database), Path(url.removeprefix("sqlite:///"))
        run = runs.create(RunRequest())
        if not pooled:
            database.engine.dispose()
        aside = file.with_name("aside.db")
        file.rename(aside)
        if what == "replaced":
            shutil.copy(aside, file)

        with pytest.raises(StorageFailed, match=f"was {what}"):
            runs.create(RunRequest())
        with pytest.raises(StorageFailed, match=f"was {what}"):
            runs.latest()
        assert file.exists() == (what == "replaced")

        aside.replace(file)
        assert runs.latest() == run


def test_a_worker_begins_no_database_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="is gone: nothing is begun in its place"):
        require_file(f"sqlite:///{tmp_path}/clm.db")

    assert not list(tmp_path.iterdir())
