"""Whoever owns a model's file and its row still cannot crash, stall or fool the process that loads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from clm.core import plugins
from clm.core.errors import ArtifactCorrupt
from clm.registry.sql import SQLModelRegistry
from clm.training import ubjson
from tests.support.hostile_files import (
    FAMILIES,
    SEALED,
    crafted,
    damaged,
    lying_metadata,
    payload,
    resized,
    sealed,
    sound,
    with_metadata,
)
from tests.support.ubjson import write
from tests.support.versions import BTC, candidate
from tests.support.waiting import LIMIT

ROOT = Path(__file__).parents[2]
STRIKES, SEED = 400, 2024


def outcomes(folder: Path, family: str, cases: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Case → what became of it, each loaded in a process of its own."""
    listed = []
    for number, (name, raw) in enumerate(cases):
        (folder / f"{number}.model").write_bytes(raw)
        listed.append({"name": name, "family": family, "file": f"{number}.model"})
    (folder / "cases.json").write_text(json.dumps(listed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.loading", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=LIMIT,
    )  # fmt: skip
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [case["name"] for case in said] == [case["name"] for case in listed]
    return {case["name"]: case["outcome"] for case in said}


@pytest.mark.rehearse
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_struck_at_random_is_refused_or_still_a_sound_model(family: str, tmp_path: Path) -> None:
    found = outcomes(tmp_path, family, damaged(family, STRIKES, SEED))

    wrong = {name: said for name, said in found.items() if said not in ("corrupt", "mismatch", "answer")}
    assert wrong == {}
    assert len(found) == STRIKES
    assert sum(said == "corrupt" for said in found.values()) > STRIKES / 2


@pytest.mark.rehearse
@pytest.mark.parametrize("family", FAMILIES)
def test_a_well_formed_file_that_lies_is_refused(family: str, tmp_path: Path) -> None:
    cases = dict(crafted(family))

    found = outcomes(tmp_path, family, cases.items())

    assert {name: said for name, said in found.items() if said != "corrupt"} == {}
    assert len(found) > 25


@pytest.mark.rehearse
@pytest.mark.parametrize("family", SEALED)
def test_metadata_that_do_not_fit_the_trees_are_refused(family: str, tmp_path: Path) -> None:
    cases = ((name, with_metadata(family, lie)) for name, lie in lying_metadata().items())

    found = outcomes(tmp_path, family, cases)

    assert {name: said for name, said in found.items() if said != "corrupt"} == {}


@pytest.mark.parametrize("family", SEALED)
def test_a_model_of_other_features_is_loaded_and_refuses_the_frame(family: str, tmp_path: Path) -> None:
    others = ["g0", "g1", "g2", "g3", "volatility_ewma"]
    cases = {
        "as it was": sound(family),
        "of other features": with_metadata(family, lambda m: m.update(feature_names=others)),
    }

    assert outcomes(tmp_path, family, cases.items()) == {
        "as it was": "answer", "of other features": "mismatch",
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_that_are_not_the_registered_ones_never_reach_a_reader(family: str, tmp_path: Path) -> None:
    """The hash in the row speaks first: what its message says no reader says."""
    with SQLModelRegistry(f"sqlite:///{tmp_path}/clm.db", tmp_path / "models", series=BTC) as registry:
        saved = registry.save_model(candidate(model_type=family))
        file = tmp_path / "models" / str(saved.file_path)
        for name, raw in [*damaged(family, 60, SEED), *crafted(family)]:
            file.write_bytes(raw)

            with pytest.raises(ArtifactCorrupt, match="is not the one that was registered") as refused:
                registry.load_model(saved)

            assert refused.value.__cause__ is None, name
            with pytest.raises(ArtifactCorrupt, match="is not the one that was registered"):
                registry.promote(family, saved.version)


@pytest.mark.parametrize("family", SEALED)
def test_bytes_whose_seal_is_broken_never_reach_a_library(family: str) -> None:
    whole = sound(family)
    for at in range(0, len(whole), 37):
        struck = bytearray(whole)
        struck[at] ^= 0x20

        with pytest.raises(ArtifactCorrupt, match=r"altered after it was written|not written by CLM"):
            plugins.model_family(family).from_bytes(bytes(struck))


class TestTheCorpusIsFair:
    """It starts from files that load, and what it writes is what the libraries write."""

    def test_the_writer_of_ubjson_writes_what_xgboost_writes(self) -> None:
        assert write(ubjson.read(payload("xgboost"))) == payload("xgboost")

    def test_sizes_measured_here_are_those_lightgbm_writes(self) -> None:
        text = payload("lightgbm").decode()

        assert resized(text) == text

    @pytest.mark.parametrize("family", FAMILIES)
    def test_no_case_is_the_sound_file(self, family: str) -> None:
        names = [name for name, _ in crafted(family)]

        assert all(raw != sound(family) for _, raw in crafted(family))
        assert len(set(names)) == len(names)
        assert sealed(family, payload(family)) == sound(family)
