"""However many series there are, so many models are in memory; the rest is read when it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from clm.core.domain import ModelArtifact, Series
from clm.core.errors import ArtifactMissing
from clm.registry.sql import SQLModelRegistry
from clm.serving.shelf import Shelf
from tests.support.versions import BTC, candidate, small_model


@pytest.fixture
def registry(tmp_path: Path) -> SQLModelRegistry:
    return SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", series=BTC)


def _put_away(registry: SQLModelRegistry, tmp_path: Path, artifact: ModelArtifact) -> None:
    (tmp_path / "models" / str(artifact.file_path)).unlink()


def test_the_least_wanted_goes_first_and_is_read_again(registry: SQLModelRegistry, tmp_path: Path) -> None:
    first, second, third = (
        registry.save_model(candidate(day, model=small_model(seed=day))) for day in range(3)
    )
    shelf = Shelf(most=2)
    kept = shelf.take(registry, first)
    shelf.take(registry, second)
    assert shelf.take(registry, first) is kept
    shelf.take(registry, third)
    for artifact in (first, second, third):
        _put_away(registry, tmp_path, artifact)

    assert shelf.take(registry, first) is kept
    with pytest.raises(ArtifactMissing):
        shelf.take(registry, second)


def test_one_model_of_several_series_is_there_once(registry: SQLModelRegistry, tmp_path: Path) -> None:
    own = registry.save_model(candidate(0))
    eth = registry.for_series(Series("ETHUSDT", "1h"))
    theirs = eth.save_model(candidate(0, series=Series("ETHUSDT", "1h")))
    assert own.artifact_sha256 == theirs.artifact_sha256
    shelf = Shelf()
    model = shelf.take(registry, own)
    _put_away(registry, tmp_path, own)

    assert shelf.take(eth, theirs) is model


def test_once_cleared_everything_is_read_again(registry: SQLModelRegistry, tmp_path: Path) -> None:
    artifact = registry.save_model(candidate(0, model=small_model(seed=0)))
    shelf = Shelf()
    kept = shelf.take(registry, artifact)

    shelf.clear()

    assert shelf.take(registry, artifact) is not kept
    _put_away(registry, tmp_path, artifact)
    shelf.clear()
    with pytest.raises(ArtifactMissing):
        shelf.take(registry, artifact)
