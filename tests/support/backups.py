"""Registries worth a backup, and backups to look into."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from clm.registry.backup import back_up
from clm.registry.migrate import HEAD
from clm.registry.sql import SQLModelRegistry
from tests.support.versions import ETH, candidate

RIDGE = "sklearn_ridge"


def work(registry: SQLModelRegistry) -> None:
    """Two series, a champion that replaced another, two files put away, one in quarantine."""
    for day in range(4):
        registry.promote(RIDGE, registry.save_model(candidate(day)).version)
    registry.for_series(ETH).save_model(candidate(series=ETH))
    registry.quarantine(RIDGE, registry.save_model(candidate(9)).version, "looked odd")
    assert len(registry.upkeep.retain(3)) == 2


def backup_of(registry: SQLModelRegistry, db_url: str, tmp_path: Path) -> Path:
    """The backup of a registry that has worked, its models in `tmp_path`."""
    work(registry)
    back_up(db_url, tmp_path / "models", tmp_path / "backup")
    return tmp_path / "backup"


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def write_manifest(folder: Path, **more: Any) -> None:
    """A manifest for what is there, but for what is said otherwise."""
    files = {
        name: {"sha256": digest, "bytes": (folder / name).stat().st_size}
        for name, digest in hashes(folder).items()
        if name != "manifest.json"
    }
    said = {
        "format": 1, "clm": "0.1.0", "revision": HEAD, "taken_at": "2026-11-23T02:00:00Z", "tables": [],
        "files": files,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({**said, **more}))
