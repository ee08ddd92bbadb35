"""Is every registered version there, intact and loadable, and does every row make sense?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from clm.core.domain import ModelArtifact, VersionStatus
from clm.core.errors import ArtifactCorrupt, ArtifactMissing, ClmError
from clm.core.protocols import TrainedModel
from clm.registry.artifacts import ArtifactStore


@dataclass(frozen=True, slots=True)
class Finding:
    """severity: error, the registry is not sound; note, worth knowing.

    damaged: the version's file is missing or altered, which `clm verify --fix` sets right.
    """

    severity: Literal["error", "note"]
    series: str
    model_type: str
    version: str
    problem: str
    damaged: bool = False


def verify_all(
    rows: Sequence[tuple[sa.Row[Any], ModelArtifact]],
    files: ArtifactStore,
    load: Callable[[ModelArtifact], TrainedModel],
) -> list[Finding]:
    """Findings over all versions of all series, and files without a version."""
    found: list[Finding] = []
    champions: set[tuple[str, str]] = set()
    for row, artifact in rows:
        name = (str(artifact.series), artifact.model_type, artifact.version)
        problems = _row_problems(row)
        put_away = _put_away(artifact)
        if put_away is not None:
            found.append(Finding("note", *name, put_away))
        else:
            found += _damage(artifact, load, name)
        if artifact.status is VersionStatus.ACTIVE and put_away is not None:
            problems.append("the champion has no file")
        key = (artifact.model_type, str(artifact.series))
        if artifact.status is VersionStatus.ACTIVE:
            if key in champions:
                problems.append("there is a second ACTIVE version")
            champions.add(key)
        found += [Finding("error", *name, problem) for problem in problems]
    registered = {artifact.file_path for _, artifact in rows}
    found += [
        Finding("note", "", "", "", f"file without a version, left by a crash: {name}")
        for name in sorted(files.files() - registered)
    ]
    return found


def _put_away(artifact: ModelArtifact) -> str | None:
    """Why a version need not have a file, None where it must."""
    if artifact.quarantined_at is not None:
        return (
            f"in quarantine since {artifact.quarantined_at:%Y-%m-%d %H:%M} UTC: {artifact.quarantine_reason}"
        )
    if artifact.pruned_at is not None:
        return f"its file was put away by retention on {artifact.pruned_at:%Y-%m-%d}"
    return None


def _damage(
    artifact: ModelArtifact, load: Callable[[ModelArtifact], TrainedModel], name: tuple[str, str, str]
) -> list[Finding]:
    """What is wrong with a version's file; a folder that is not there is no damage of any version's."""
    try:
        model = load(artifact)
    except (ArtifactMissing, ArtifactCorrupt) as error:
        return [Finding("error", *name, str(error), damaged=True)]
    except ClmError as error:
        return [Finding("error", *name, str(error))]
    if model.model_type != artifact.model_type:
        return [Finding("error", *name, f"the file holds a {model.model_type} model", damaged=True)]
    return []


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
