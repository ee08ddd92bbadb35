"""Closing a database while somebody is still reading from it."""

from __future__ import annotations

import gc
import threading
import warnings

import pytest
import sqlalchemy as sa

from clm.registry.database import Database
from tests.support.postgres import fresh_database
from tests.support.waiting import LIMIT


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_connection_that_is_out_when_it_is_closed_is_closed_when_it_comes_back(
    kind: str, tmp_path: object
) -> None:
    def rehearse(url: str) -> None:
        held, reading, go_on = [Database(url)], threading.Event(), threading.Event()
        found: list[object] = []

        def read() -> None:
            with held[0].reading() as connection:
                reading.set()
                go_on.wait(LIMIT)
                found.append(connection.execute(sa.text("SELECT 1")).scalar_one())

        reader = threading.Thread(target=read)
        reader.start()
        assert reading.wait(LIMIT)
        held[0].close()
        go_on.set()
        reader.join()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            held.clear()
            gc.collect()

        assert found == [1]
        assert [str(w.message) for w in said if w.category is ResourceWarning] == []

    if kind == "sqlite":
        rehearse(f"sqlite:///{tmp_path}/clm.db")
    else:
        with fresh_database() as url:
            rehearse(url)
