"""Closing a database while somebody is still reading from it."""

from __future__ import annotations

import gc
import socket
import threading
import warnings

import pytest
import sqlalchemy as sa

from clm.core.errors import DatabaseUnavailable
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


def test_nobody_waits_any_longer_for_one_that_is_closed() -> None:
    """A service that has stopped does not go on knocking at a database for the minutes it is patient."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"postgresql+psycopg://clm@127.0.0.1:{nobody.getsockname()[1]}/clm"
        database, said = Database(url, patience=2 * LIMIT), []

        def wait() -> None:
            try:
                database.open()
            except DatabaseUnavailable as error:
                said.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        nobody.accept()[0].close()
        database.close()
    waiting.join(LIMIT)

    assert not waiting.is_alive()
    assert len(said) == 1
