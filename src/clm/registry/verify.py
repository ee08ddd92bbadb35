"""Is every registered version there, intact and loadable, and does every row make sense?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from clm.core.domain import ModelArtifact, VersionStatus
from clm.core.errors import ClmError
from clm.core.protocols import TrainedModel
from clm.registry.artifacts import ArtifactStore


@dataclass(frozen=True, slots=True)
class Finding:
    """severity: error, the registry is not sound; note, worth knowing."""

    severity: Literal["error", "note"]
    series: str
    model_type: str
    version: str
    problem: str


def verify_all(
    rows: Sequence[tuple[sa.Row[Any], ModelArtifact]],
    files: ArtifactStore,
    load: Callable[[ModelArtifact], TrainedModel],
) -> list[Finding]:
    """Findings over all versions of all series, and files without a version."""
    found: list[Finding] = []
    champions: set[tuple[str, str]] = set()
    for row, artifact in rows:
        problems = _row_problems(row)
        try:
            model = load(artifact)
            if model.model_type != artifact.model_type:
                problems.append(f"the file holds a {model.model_type} model")
        except ClmError as error:
            problems.append(str(error))
        key = (artifact.model_type, str(artifact.series))
        if artifact.status is VersionStatus.ACTIVE:
            if key in champions:
                problems.append("there is a second ACTIVE version")
            champions.add(key)
        found += [
            Finding("error", str(artifact.series), artifact.model_type, artifact.version, problem)
            for problem in problems
        ]
    registered = {artifact.file_path for _, artifact in rows}
    found += [
        Finding("note", "", "", "", f"file without a version, left by a crash: {name}")
        for name in sorted(files.files() - registered)
    ]
    return found


def _row_problems(row: sa.Row[Any]) -> list[str]:
    problems = []
    if row.status == VersionStatus.ACTIVE and row.promoted_at is None:
        problems.append("ACTIVE but never promoted")
    if row.status == VersionStatus.RETIRED and row.retired_at is None:
        problems.append("RETIRED but no time of it")
    if not row.train_start < row.train_end <= row.trained_at:
        problems.append("trained before its training data ended")
    if row.training_samples <= 0:
        problems.append("trained on no rows")
    return problems
