"""A command that a message or a page shows installs what it says, and nothing that a stranger registered."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from clm.core import extras
from clm.core.extras import how_to_install
from tests.support.quick import REAL

ROOT = Path(__file__).parents[2]
_TOLD = [
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.*"), *(ROOT / "examples").rglob("*.*"), ROOT / "Makefile",
    *(ROOT / "src").rglob("*.py"), ROOT / ".env.example",
]  # fmt: skip
_TEXTS = {file: file.read_text() for file in _TOLD if file.suffix not in (".png", ".webp", ".pyc")}
_EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def test_nothing_shown_installs_clm_by_its_name() -> None:
    by_name = re.compile(
        r"(?:pip|pipx|uv|uvx|poetry|conda)\b[^\n`]*\b(?:install|add|run|download)\b[^\n`]*quantum-clm"
    )

    assert {str(file) for file, text in _TEXTS.items() if by_name.search(text)} == set()


def test_no_source_names_an_extra_of_it() -> None:
    assert {str(file) for file, text in _TEXTS.items() if re.search(r"quantum-clm\[", text)} == set()


def test_every_command_of_a_page_installs_from_the_checkout_with_its_constraints() -> None:
    shown = [
        (file.name, command)
        for file, text in _TEXTS.items() if file.suffix == ".md"
        for command in re.findall(r"pip install[^\n`]*'?\.\[[^\n`]*", text)
    ]  # fmt: skip

    assert len(shown) >= 8
    for name, command in shown:
        wanted = re.search(r"-c constraints\.txt (?:-e )?'\.\[([a-z0-9,]+)\]'", command)
        assert wanted, f"{name}: {command}"
        assert set(wanted[1].split(",")) <= set(_EXTRAS), f"{name}: {command}"


@pytest.mark.parametrize("extra", sorted(_EXTRAS))
def test_a_message_names_the_checkout_this_runs_from(extra: str) -> None:
    command = shlex.split(how_to_install(extra))

    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[4:] == ["-c", f"{ROOT}/constraints.txt", "-e", f"{ROOT}[{extra}]"]


@pytest.mark.rehearse
def test_pip_understands_the_command() -> None:
    command = shlex.split(how_to_install("search", "dask"))

    # Without what the extras bring, which takes long; pip builds CLM's metadata for it all the same.
    asked = [REAL, *command[1:], "--dry-run", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(asked, cwd="/", capture_output=True, text=True, check=False)

    if "hatchling" in done.stderr:
        pytest.skip("no index is within reach, and pip builds nothing without hatchling")
    assert (done.returncode, "does not provide the extra" in done.stderr) == (0, False), done.stderr
    assert "Would install quantum-clm-" in done.stdout


class TestWithoutACheckout:
    @pytest.fixture
    def wheel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """CLM as a wheel leaves it: its metadata beside it, its constraints within."""
        package = tmp_path / "site" / "clm"
        told = tmp_path / "site" / "quantum_clm-0.1.0.dist-info"
        for folder in (package, told):
            folder.mkdir(parents=True)
        (package / "constraints.txt").write_text("optuna==4.5.0\n")
        needs = "".join(
            f'Requires-Dist: {one}; extra == "{n}"\n' for n, all_ in _EXTRAS.items() for one in all_
        )
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: quantum-clm\nVersion: 0.1.0\n{needs}")
        self._seen(monkeypatch, package, told)
        return told

    @staticmethod
    def _seen(monkeypatch: pytest.MonkeyPatch, package: Path, told: Path) -> None:
        found: Distribution = PathDistribution(told)
        monkeypatch.setattr(extras, "distribution", lambda _: found)
        monkeypatch.setattr(extras, "_PACKAGE", package)
        monkeypatch.setattr(extras, "_ROOT", package.parents[1])

    @pytest.mark.parametrize("extra", sorted(_EXTRAS))
    def test_what_the_extra_needs_is_named_instead(self, wheel: Path, extra: str) -> None:
        command = shlex.split(how_to_install(extra))

        assert command[4:6] == ["-c", str(wheel.parent / "clm" / "constraints.txt")]
        assert command[6:] == _EXTRAS[extra]

    def test_a_folder_it_was_installed_from_is_named_while_it_is_there(
        self, wheel: Path, tmp_path: Path
    ) -> None:
        checkout = tmp_path / "a folder"
        url = f"file://{tmp_path}/a%20folder"
        (wheel / "direct_url.json").write_text(json.dumps({"dir_info": {}, "url": url}))

        assert shlex.split(how_to_install("search"))[6:] == _EXTRAS["search"]

        checkout.mkdir()
        for name in ("pyproject.toml", "constraints.txt"):
            (checkout / name).touch()

        assert shlex.split(how_to_install("search"))[4:] == [
            "-c", f"{checkout}/constraints.txt", f"{checkout}[search]",
        ]  # fmt: skip
