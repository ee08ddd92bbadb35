"""What is said to be written is on the disk: a file before its name, its name before anybody is told."""

from __future__ import annotations

from pathlib import Path

from clm.market.store import CandleStore
from clm.registry.files import LocalFiles
from clm.registry.sql import SQLModelRegistry
from tests.support.calls import calls_of
from tests.support.candles import random_walk
from tests.support.databases import sqlite_in
from tests.support.versions import BTC, candidate


def test_a_model_file_is_synced_before_it_has_its_name_and_the_name_after_it(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "models")

    with calls_of("fsync", "link") as calls:
        assert files.create("model.txt", b"a model")

    assert calls == ["fsync", "link", "fsync"]


def test_a_replaced_file_is_synced_before_it_takes_the_others_place(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "models")

    with calls_of("fsync", "rename", "replace") as calls:
        files.replace("model.txt", b"another model")

    assert calls == ["fsync", "replace"]


def test_a_saved_model_is_on_the_disk_before_its_row_is(tmp_path: Path) -> None:
    with SQLModelRegistry(sqlite_in(tmp_path), tmp_path / "models", series=BTC) as registry:
        # The folder is marked as this registry's, and tried out.
        registry.save_model(candidate())
        with calls_of("fsync", "link", "commit") as calls:
            registry.save_model(candidate(1))

    assert calls == ["fsync", "link", "fsync", "commit"]


def test_a_month_of_candles_is_synced_before_it_takes_the_olds_place(tmp_path: Path) -> None:
    store, candles = CandleStore(tmp_path), random_walk(48)
    start, end = candles.index[0], candles.index[-1] + BTC.step

    with calls_of("fsync", "replace") as calls:
        store.write(BTC, candles, (int(start.timestamp() * 1000), int(end.timestamp() * 1000)))

    assert calls[:3] == ["fsync", "replace", "fsync"]
    assert len(calls) % 3 == 0
