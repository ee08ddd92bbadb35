"""What the site holds besides the pages: made from the code when it is built (a MkDocs hook)."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_DOCS = Path(__file__).parent
_ROOT = _DOCS.parent
#: Pages of the repository that are not below docs/.
_ELSEWHERE = {
    "examples.md": "examples/README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md",
}  # fmt: skip


def on_files(files: Files, config: Any) -> Files:
    """Adds the generated pages."""
    pages = {
        "reference/settings.md": settings_page(),
        "reference/rest.md": rest_page(),
        "decisions/index.md": decisions_page(),
    }
    pages |= {name: (_ROOT / source).read_text() for name, source in _ELSEWHERE.items()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for source in sorted((_ROOT / "examples").glob("*.*")):
        if source.suffix != ".md":
            files.append(File.generated(config, f"examples/{source.name}", content=source.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that hold in a checkout lead to the same things on the site."""
    markdown = markdown.replace("](../examples/README.md)", "](examples.md)")
    if page.file.src_uri == "examples.md":
        markdown = markdown.replace("](../docs/", "](")
        markdown = re.sub(r"\]\((?=[\w]+\.(?:py|jsx|sh|example)\))", "](examples/", markdown)
    if page.file.src_uri in ("changelog.md", "contributing.md"):
        markdown = re.sub(r"\]\((?:\./)?docs/", "](", markdown)
    return markdown


def settings_page() -> str:
    """Every setting, from `clm.settings.Settings`."""
    from clm.settings import PER_SERIES, PREFIX, Settings

    lines = [
        "# Settings", "",
        "Environment variables, or lines of a file `.env` in the working directory; the environment wins. A "
        "name that does not exist, or a value that cannot be, stops the start with a sentence that says what "
        "is allowed. Times are UTC. Those marked • may differ from series to series: "
        "`clm series add … --set name=value`.", "",
        "| setting | default | meaning |", "|---|---|---|",
    ]  # fmt: skip
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, tuple):
            default = ",".join(default)
        elif isinstance(default, bool | dict):
            default = json.dumps(default)
        shown = f"`{default}`" if str(default) else "none"
        mark = " •" if name in PER_SERIES else ""
        lines.append(f"| `{PREFIX}{name.upper()}`{mark} | {shown} | {_cell(field.description)} |")
    return "\n".join(lines) + "\n"


def rest_page() -> str:
    """Every route, from the service's own OpenAPI document."""
    from clm.api.app import create_app
    from clm.bootstrap import Application
    from clm.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        settings = Settings.load(
            db_url=f"sqlite:///{place / 'clm.db'}", model_dir=place / "models", data_dir=place / "data",
            schedule="off", live_shadow=False,
        )  # fmt: skip
        with Application(settings, interactive=True) as application:
            document = create_app(application).openapi()
    lines = [
        "# REST", "",
        "A running service shows the same, to be tried, at `/docs`, and as OpenAPI at `/openapi.json`. "
        "Errors are problem documents (RFC 9457) that name the field, the value and what is allowed. "
        "Who may do what: [Access](../access.md).", "",
    ]  # fmt: skip
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += [f"## {method.upper()} {path}", "", operation.get("description") or "", ""]
            asked = operation.get("parameters", [])
            if asked:
                lines += ["| parameter | in | meaning |", "|---|---|---|"]
                for one in asked:
                    need = ", required" if one.get("required") else ""
                    lines.append(f"| `{one['name']}` | {one['in']}{need} | {_cell(one.get('description'))} |")
                lines.append("")
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "$ref" in body.get("schema", {}):
                lines += _fields(document, body["schema"]["$ref"])
            lines += ["| answer | meaning |", "|---|---|"]
            answers = operation["responses"].items()
            lines += [f"| {code} | {_cell(said.get('description'))} |" for code, said in answers]
            lines.append("")
    return "\n".join(lines)


def _fields(document: dict[str, Any], reference: str) -> list[str]:
    found = document["components"]["schemas"][reference.rpartition("/")[2]]
    rows = ["| field of the body | meaning |", "|---|---|"]
    for name, field in found.get("properties", {}).items():
        rows.append(f"| `{name}` | {_cell(field.get('description') or field.get('title'))} |")
    return [*rows, ""]


def decisions_page() -> str:
    """A list of the records; the first line of each is its title."""
    lines = ["# Decisions", "", "Why things are as they are, one screen each.", ""]
    for file in sorted((_DOCS / "decisions").glob("0*.md")):
        title = file.read_text().splitlines()[0].lstrip("# ")
        lines.append(f"- [{title.replace('. ', ' – ', 1)}]({file.name})")
    return "\n".join(lines) + "\n"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")
