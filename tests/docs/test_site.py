"""The documentation is built without a dead link, and a page asks nobody else for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.rehearse
ROOT = Path(__file__).parents[2]
#: What a browser fetches by itself.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\ssrc=["']?(https?:)?//|"""
    r"""<link\b(?=[^>]*rel=["']?(?:stylesheet|preconnect|preload|icon|dns-prefetch))[^>]*href=["']?(https?:)?//""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert done.returncode == 0, "\n".join(said) or done.stderr
    return folder


def test_every_page_is_there_and_none_asks_another_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))

    assert len(pages) > 50
    assert [page.name for page in pages if _FETCHED.search(page.read_text())] == []
    sheets = [sheet for sheet in site.rglob("*.css") if re.search(r"url\(['\"]?https?:", sheet.read_text())]
    assert sheets == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reference/settings.html", "CLM_MIN_IMPROVEMENT_THRESHOLD"),
        ("reference/rest.html", "/api/clm/retrain"),
        ("reference/python.html", "run_full_cycle"),
        ("decisions/index.html", "Luck is allowed"),
        ("examples.html", "RetrainButton"),
        ("promotion.html", "Operating characteristics"),
    ],
)
def test_what_is_made_from_the_code_is_on_its_page(site: Path, name: str, said: str) -> None:
    assert said in (site / name).read_text()
