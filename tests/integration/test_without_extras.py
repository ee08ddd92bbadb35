"""A family whose libraries are not installed is known, and says what to install; it never answers zeros."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_FAMILY = "crystal_ball"
_SAID = "pip install 'oracles[glass]'"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a package installed whose family needs an extra that is not."""
    told = tmp_path / "site" / "oracles-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: oracles\nVersion: 1.0\nProvides-Extra: glass\n"
        'Requires-Dist: nowhere-to-be-found>=1; extra == "glass"\nRequires-Dist: numpy\n'
    )
    (told / "entry_points.txt").write_text(f"[clm.trainers]\n{_FAMILY} = oracles:Ball [glass]\n")
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "CLM_DB_URL": f"sqlite:///{tmp_path}/clm.db"}


def _clm(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clm", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_asking_for_it_is_refused_with_what_to_install(environment: dict[str, str], tmp_path: Path) -> None:
    done = _clm(environment, tmp_path, "retrain", "--models", _FAMILY)

    assert done.returncode == 2
    assert _SAID in done.stderr


def test_configuring_it_is_refused_with_what_to_install(environment: dict[str, str], tmp_path: Path) -> None:
    done = _clm({**environment, "CLM_MODELS": f"xgboost,{_FAMILY}"}, tmp_path, "models")

    assert done.returncode == 2
    assert _SAID in done.stderr


def test_it_is_among_the_known_ones_never_trained_and_its_status_says_what_to_install(
    environment: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "import json\n"
        "from clm.core import plugins\n"
        "from tests.support.candles import random_walk\n"
        "from tests.support.managers import manager_over\n"
        "manager = manager_over(random_walk(2500))\n"
        "print(json.dumps([manager.check_if_retrain_needed(), manager.get_model_status_summary()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    triggers: dict[str, Any]
    triggers, summary = json.loads(done.stdout.splitlines()[-1])
    assert set(triggers.values()) == {"Never trained"}
    assert _FAMILY in triggers
    assert summary[_FAMILY]["untrainable_here"].startswith("not installed: ")
    assert summary[_FAMILY]["untrainable_here"].endswith(_SAID)
    assert summary["lightgbm"]["untrainable_here"] is None
