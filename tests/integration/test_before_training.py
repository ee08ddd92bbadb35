"""Where no model could be kept, that is found before candles are fetched and an hour is trained away."""

from __future__ import annotations

from pathlib import Path

import pytest

from clm.core.errors import StorageFailed
from clm.core.runs import RunRequest
from clm.registry.sql import SQLModelRegistry
from tests.support.s3 import BUCKET, s3_server
from tests.support.service import running_service
from tests.support.versions import BTC

PLACES = (
    "a folder that cannot be made",
    "a folder that cannot be written to",
    "no bucket",
    "an older object store",
)


@pytest.mark.rehearse
@pytest.mark.parametrize("place", PLACES)
def test_a_run_ends_before_anything_is_fetched_and_says_why(place: str, tmp_path: Path) -> None:
    with s3_server(conditional=place != "an older object store"):
        (tmp_path / "blocked").write_text("a file")
        where, said = {
            "a folder that cannot be made": (tmp_path / "blocked" / "models", "Not a directory"),
            "a folder that cannot be written to": (Path("/proc/sys"), "cannot be written"),
            "no bucket": ("s3://nowhere-at-all/models", "bucket"),
            "an older object store": (f"s3://{BUCKET}/models", "If-None-Match"),
        }[place]
        with running_service(tmp_path, model_dir=where) as (application, exchange):
            outcome = application.run(RunRequest(force=True))

            assert outcome.error is not None
            assert said in outcome.error
            assert not [seen for seen in exchange.exchange.requests if seen.path.endswith("/klines")]


def test_a_sound_place_is_left_as_it_was(tmp_path: Path) -> None:
    with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", series=BTC) as registry:
        registry.prepare()
        registry.prepare()

        assert [file.name for file in (tmp_path / "models").iterdir()] == [".clm-models"]


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", series=BTC) as registry:
        with pytest.raises(StorageFailed, match="models"):
            registry.prepare()
