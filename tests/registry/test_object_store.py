"""Model files in an object store: what holds of a folder holds there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clm.core.errors import ArtifactCorrupt, ArtifactMissing, InvalidSetting, NotEmpty, StorageFailed
from clm.registry.backup import back_up
from clm.registry.files import ObjectFiles
from clm.registry.restore import restore
from clm.registry.sql import SQLModelRegistry
from tests.support.backups import RIDGE, work
from tests.support.s3 import BUCKET, S3, s3_server
from tests.support.versions import BTC, candidate


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def prefix(server: S3, request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def url(prefix: str) -> str:
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def registry(url: str, tmp_path: Path) -> Iterator[SQLModelRegistry]:
    with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", url, series=BTC) as registry:
        yield registry


def _errors(registry: SQLModelRegistry) -> list[str]:
    return [f.problem for f in registry.verify() if f.severity == "error"]


def _put(server: S3, key: str, raw: bytes) -> None:
    server.client().put_object(Bucket=BUCKET, Key=key, Body=raw)


def test_a_model_altered_behind_the_registrys_back_is_refused_named_and_set_aside(
    registry: SQLModelRegistry, server: S3, prefix: str, url: str
) -> None:
    saved = registry.save_model(candidate())
    assert registry.verify() == []
    _put(server, f"{prefix}/{saved.file_path}", b"altered")

    with pytest.raises(ArtifactCorrupt, match=f"not the one that was registered: {url}/{saved.file_path}"):
        registry.load_model(saved)
    (finding,) = registry.verify()
    assert finding.damaged
    assert saved.file_path in finding.problem

    registry.quarantine(RIDGE, saved.version, finding.problem)

    assert _errors(registry) == []
    names = server.names(f"{prefix}/")
    assert f"{prefix}/{saved.file_path}" not in names
    (aside,) = [name for name in names if name.startswith(f"{prefix}/quarantine/{saved.file_path}.")]
    assert server.client().get_object(Bucket=BUCKET, Key=aside)["Body"].read() == b"altered"


def test_quarantine_ends_when_the_object_is_back_as_it_was_registered(
    registry: SQLModelRegistry, server: S3, prefix: str
) -> None:
    saved = registry.save_model(candidate())
    key = f"{prefix}/{saved.file_path}"
    whole = server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    server.client().delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(ArtifactMissing, match="is missing"):
        registry.load_model(saved)
    registry.quarantine(RIDGE, saved.version, "missing")
    assert registry.upkeep.take_back() == []
    _put(server, key, whole)

    (back,) = registry.upkeep.take_back()

    assert back.version == saved.version
    registry.promote(RIDGE, saved.version)


def test_savers_at_once_never_replace_each_others_files(registry: SQLModelRegistry, server: S3) -> None:
    start = threading.Barrier(4)

    def save(_: int) -> str:
        start.wait()
        return registry.save_model(candidate()).version

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(save, range(4)))

    assert len(set(names)) == 4
    assert _errors(registry) == []


def test_a_name_that_is_taken_is_left_as_it_is(url: str, server: S3) -> None:
    files = ObjectFiles(url)

    assert files.create("model.txt", b"first")
    assert not files.create("model.txt", b"second")
    assert files.read("model.txt") == b"first"


def test_a_store_that_replaces_what_it_was_asked_not_to_replace_gets_no_model(tmp_path: Path) -> None:
    with s3_server(conditional=False) as older:
        with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", f"s3://{BUCKET}/m", series=BTC) as registry:
            with pytest.raises(StorageFailed, match="If-None-Match"):
                registry.save_model(candidate())

            assert registry.get_model_history(RIDGE) == []
        assert older.names() == ["m/.clm-models"]


def test_retention_deletes_objects_and_a_backup_goes_to_a_folder_and_back(
    registry: SQLModelRegistry, server: S3, url: str, prefix: str, tmp_path: Path
) -> None:
    work(registry)
    kept = {name for name in server.names(f"{prefix}/") if "_v" in name and "quarantine" not in name}
    assert len(kept) == 3
    assert _errors(registry) == []

    manifest = back_up(f"sqlite:///{tmp_path}/clm.db", url, tmp_path / "backup")

    assert {f"{prefix}/{name}" for name in manifest.models} == kept
    restore(f"sqlite:///{tmp_path}/again.db", f"{url}-again", tmp_path / "backup")
    with SQLModelRegistry(f"sqlite:///{tmp_path}/again.db", f"{url}-again", series=BTC) as restored:
        assert _errors(restored) == []
        restored.save_model(candidate(20))
    with pytest.raises(NotEmpty, match=f"{url}-again is not empty"):
        restore(f"sqlite:///{tmp_path}/third.db", f"{url}-again", tmp_path / "backup")
    restore(f"sqlite:///{tmp_path}/local.db", tmp_path / "local", tmp_path / "backup")
    with SQLModelRegistry(f"sqlite:///{tmp_path}/local.db", tmp_path / "local", series=BTC) as restored:
        assert _errors(restored) == []


def test_a_bucket_of_another_database_is_told_so(
    registry: SQLModelRegistry, url: str, tmp_path: Path
) -> None:
    registry.save_model(candidate())

    with SQLModelRegistry(f"sqlite:///{tmp_path}/other.db", f"{url}-other", series=BTC) as other:
        other.save_model(candidate())
    with SQLModelRegistry(f"sqlite:///{tmp_path}/other.db", url, series=BTC) as other:
        with pytest.raises(StorageFailed, match="is not the folder this database's models are in"):
            other.save_model(candidate(1))


def test_a_row_that_names_another_objects_path_is_refused(registry: SQLModelRegistry) -> None:
    from dataclasses import replace

    saved = registry.save_model(candidate())

    for path in ("../other/model", "quarantine/model", "", ".clm-models"):
        with pytest.raises(ArtifactCorrupt, match="outside the model folder"):
            registry.load_model(replace(saved, file_path=path))


_SAVE_FOR_EVER = """
import sys; sys.path.insert(0, sys.argv[3])
from clm.registry.sql import SQLModelRegistry
from tests.support.versions import BTC, candidate
registry = SQLModelRegistry(sys.argv[1], sys.argv[2], series=BTC)
registry.save_model(candidate())
print("going", flush=True)
while True:
    registry.save_model(candidate())
"""


def test_a_saver_killed_at_any_moment_leaves_whole_files_and_nothing_registered_without_one(
    registry: SQLModelRegistry, url: str, tmp_path: Path
) -> None:
    for seconds in (0.03, 0.11):
        child = subprocess.Popen(
            [sys.executable, "-c", _SAVE_FOR_EVER, f"sqlite:///{tmp_path}/clm.db", url,
             str(Path(__file__).parents[2])],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        child.communicate()

    assert len(registry.get_model_history(RIDGE)) >= 2
    assert _errors(registry) == []
    assert registry.save_model(candidate()).version


class TestAStoreThatFails:
    def test_is_named_with_the_cause_where_its_bucket_is_missing(self, server: S3, tmp_path: Path) -> None:
        url = "s3://no-such-bucket/models"
        with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", url, series=BTC) as registry:
            with pytest.raises(StorageFailed, match=rf"{url}/\.clm-models.*bucket does not exist"):
                registry.save_model(candidate())

    def test_fails_a_save_in_seconds_where_nobody_listens_and_registers_nothing(
        self, registry: SQLModelRegistry, server: S3, url: str
    ) -> None:
        saved = registry.save_model(candidate())
        server.stop()
        began = time.monotonic()
        with pytest.raises(StorageFailed, match=f"{url}.*cannot be written"):
            registry.save_model(candidate(1))
        with pytest.raises(StorageFailed, match=f"{url}.*cannot be read"):
            registry.load_model(saved)
        # The library by itself would try again for minutes.
        assert time.monotonic() - began < 120
        server.start()
        server.make_bucket()

        assert [v.version for v in registry.get_model_history(RIDGE)] == [saved.version]


def test_a_folder_stays_a_folder_however_it_is_written(tmp_path: Path) -> None:
    for where in (tmp_path / "a", str(tmp_path / "b"), f"file://{tmp_path}/c"):
        with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", where, series=BTC) as registry:
            registry.save_model(candidate())
        (tmp_path / "clm.db").unlink()
        for leftover in tmp_path.glob("clm.db-*"):
            leftover.unlink()

    assert all(list((tmp_path / name).glob("*_v*")) for name in "abc")
    shutil.rmtree(tmp_path / "a")


def test_a_url_nobody_knows_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="model_dir: 'ftp://host/models'"):
        SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", "ftp://host/models", series=BTC)
