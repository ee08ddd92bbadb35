"""The page in the checkout's `models/` is in nobody's way."""

from __future__ import annotations

import shutil
from pathlib import Path

from clm.registry.sql import SQLModelRegistry
from clm.settings import Settings
from tests.support.versions import BTC, candidate, small_model

PAGE = Path(__file__).parents[2] / Settings.model_fields["model_dir"].default / "README.md"


def test_a_folder_with_the_page_in_it_takes_models_and_verify_finds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(PAGE, folder)
    registry = SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", folder, series=BTC)

    saved = registry.save_model(candidate(0, model=small_model(seed=0)))

    assert registry.load_model(saved) is not None
    assert registry.verify() == []
    assert (folder / PAGE.name).read_text() == PAGE.read_text()
