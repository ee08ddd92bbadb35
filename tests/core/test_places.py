"""A setting that names a place says at once what is wrong with it, and never shows a secret."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clm.core.errors import InvalidSetting
from clm.core.places import place
from clm.settings import Settings
from tests.support.quick import REAL


def test_folders_are_paths_and_object_stores_are_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLM_MODEL_DIR", "s3://bucket/models/")
    monkeypatch.setenv("CLM_DATA_DIR", "file:///srv/my%20data")

    settings = Settings.load()

    assert settings.model_dir == "s3://bucket/models"
    assert settings.data_dir == Path("/srv/my data")
    assert Settings.load(model_dir="models", data_dir=Path("data")).model_dir == Path("models")


def test_children_get_the_same_places() -> None:
    for given in ("s3://bucket/models", Path("/srv/models")):
        settings = Settings.load(model_dir=given)

        assert Settings.model_validate_json(settings.for_children()).model_dir == given


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ("ftp://host/models", r"s3://bucket/prefix, gs://"),
        ("s3://", "s3://bucket/prefix"),
        ("file://elsewhere/models", "file:///srv/clm"),
        ("http://[half", "s3://bucket/prefix"),
        ("s3://bucket/a/../b", "bucket and prefix alone"),
        ("s3://bucket/models?token=hush", "bucket and prefix alone"),
        ("s3://me:hush@bucket/models", "bucket and prefix alone"),
    ],
)
def test_a_wrong_url_is_refused_by_name_without_its_secrets(given: str, allowed: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"^CLM_DATA_DIR: .*{allowed}") as refused:
        Settings.load(data_dir=given)

    assert "hush" not in str(refused.value)


def test_a_missing_driver_is_told_with_what_to_install() -> None:
    if _installed("gcsfs"):
        pytest.skip("gcsfs is installed here")

    with pytest.raises(InvalidSetting, match=r"model_dir: 'gs://b/m'.*gcsfs.*pip install .*\[gcs\]"):
        place("model_dir", "gs://b/m")


def test_settings_and_local_stores_import_no_object_store() -> None:
    code = (
        "import sys; from pathlib import Path; from clm.settings import Settings\n"
        "from clm.market.stores import candle_store; from clm.registry.artifacts import ArtifactStore\n"
        "Settings.load(); candle_store(Path('data')); ArtifactStore('models'); ArtifactStore('s3://b/m')\n"
        "print([name for name in ('fsspec', 's3fs', 'botocore', 'aiohttp') if name in sys.modules])"
    )

    said = subprocess.run([REAL, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None
