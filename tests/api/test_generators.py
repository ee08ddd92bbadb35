"""Strangers' programs make clients of the OpenAPI document: none refuses it, warns, or loses an answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clm.api.app import create_app
from tests.support.service import running_service
from tests.support.waiting import LIMIT

pytestmark = pytest.mark.rehearse
#: Where `make rehearse` puts them; they want other versions of this and that than the product.
MAKERS = Path(sys.prefix) / "makers" / "bin"
#: What npm says where it cannot reach its registry.
_NO_WAY_OUT = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "E403", "E404")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generators")
    with running_service(folder, symbols=("BTCUSDT", "ETHUSDT")) as (application, _):
        (folder / "openapi.json").write_text(json.dumps(create_app(application).openapi()))
    return folder / "openapi.json"


def _made(document: Path, *command: str) -> str:
    """What it said; fails where it failed."""
    path = f"{MAKERS}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command,
        cwd=document.parent,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return said


def _maker(name: str) -> str:
    if not (MAKERS / name).exists():
        pytest.skip(f"no {name}: `make rehearse` installs it into .venv/makers")
    return str(MAKERS / name)


def test_openapi_spec_validator(document: Path) -> None:
    assert "OK" in _made(document, _maker("openapi-spec-validator"), str(document))


def test_openapi_python_client(document: Path) -> None:
    maker = _maker("openapi-python-client")
    given = ("--path", str(document), "--output-path", "client", "--fail-on-warning")

    assert "WARNING" not in _made(document, maker, "generate", *given)

    # Whoever asks for several forecasts, and for those of the past, gets a type for each.
    names = {file.stem for file in document.parent.joinpath("client").rglob("models/*.py")}
    assert {"forecasts_view", "past_forecasts_view", "forecast_view"} <= names
    _made(document, sys.executable, "-m", "compileall", "-q", "client")


@pytest.mark.parametrize("language", ["python", "typescript-fetch"])
def test_openapi_generator(document: Path, language: str) -> None:
    if shutil.which("java") is None:
        pytest.skip("no java: apt-get install default-jre-headless")
    generator, out = _maker("openapi-generator-cli"), f"made-{language}"

    assert "No validation issues" in _made(document, generator, "validate", "-i", str(document))
    _made(document, generator, "generate", "-i", str(document), "-g", language, "-o", out)

    made = {file.stem.replace("_", "").lower() for file in document.parent.joinpath(out).rglob("*.*")}
    assert {"forecastsview", "pastforecastsview"} <= made


def test_openapi_typescript(document: Path) -> None:
    if shutil.which("npx") is None:
        pytest.skip("no npx: apt-get install nodejs npm")
    command = ("npx", "--yes", "openapi-typescript@7", str(document), "-o", "clm.d.ts")
    done = subprocess.run(command, cwd=document.parent, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode and any(word in done.stderr for word in _NO_WAY_OUT):
        pytest.skip("npm does not reach its registry")

    assert done.returncode == 0, done.stderr[-4000:]
    assert "PastForecastsView: {" in (document.parent / "clm.d.ts").read_text()
