"""Records of the core to rows and back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from clm.core.domain import Decision, ModelArtifact, Outcome, Series, VersionStatus
from clm.core.wire import jsonable
from clm.registry.tables import versions


def version_values(artifact: ModelArtifact, path: str, sha256: str) -> dict[str, Any]:
    """The row of a new candidate."""
    return {
        "model_type": str(artifact.model_type),
        "symbol": artifact.series.symbol,
        "interval": artifact.series.interval,
        "version": artifact.version,
        "status": str(VersionStatus.CANDIDATE),
        "trained_at": artifact.trained_at,
        "file_path": path,
        "artifact_sha256": sha256,
        "metrics_json": jsonable(artifact.metrics),
        "training_samples": artifact.training_samples,
        "train_start": artifact.train_start,
        "train_end": artifact.train_end,
        "feature_schema_hash": artifact.feature_schema_hash,
        "data_fingerprint": artifact.data_fingerprint,
        "params_json": jsonable(artifact.params),
        "library_versions_json": dict(artifact.library_versions),
        "seed": artifact.seed,
        "recipe_id": artifact.recipe_id,
        "parent_version": artifact.parent_version,
        "notes": artifact.notes,
        "certificate_json": jsonable(artifact.certificate),
        "profile_json": artifact.profile,
        "origin_json": artifact.origin,
        "known_answer_json": artifact.known_answer,
    }


def artifact_of(row: sa.Row[Any]) -> ModelArtifact:
    """A version's row as a record, its model not loaded."""
    return ModelArtifact(
        series=Series(row.symbol, row.interval),
        model_type=row.model_type,
        version=row.version,
        trained_at=row.trained_at,
        train_start=row.train_start,
        train_end=row.train_end,
        training_samples=row.training_samples,
        metrics=row.metrics_json,
        params=row.params_json,
        seed=row.seed,
        recipe_id=row.recipe_id,
        feature_schema_hash=row.feature_schema_hash,
        data_fingerprint=row.data_fingerprint,
        library_versions=row.library_versions_json,
        parent_version=row.parent_version,
        notes=row.notes,
        status=VersionStatus(row.status),
        file_path=row.file_path,
        artifact_sha256=row.artifact_sha256,
        promoted_at=row.promoted_at,
        retired_at=row.retired_at,
        replaced_version=row.replaced_version,
        certificate=row.certificate_json,
        quarantined_at=row.quarantined_at,
        quarantine_reason=row.quarantine_reason,
        pruned_at=row.pruned_at,
        profile=row.profile_json,
        origin=row.origin_json,
        known_answer=row.known_answer_json,
    )


def decision_values(decision: Decision, series: Series, decided_at: Any) -> dict[str, Any]:
    """The row of a decision."""
    return {
        "model_type": str(decision.model_type),
        "symbol": series.symbol,
        "interval": series.interval,
        "candidate_version": decision.candidate_version,
        "champion_version": decision.champion_version,
        "outcome": str(decision.outcome),
        "label": decision.label,
        "policy": decision.policy,
        "reason": decision.reason,
        "numbers_json": jsonable(decision.numbers),
        "decided_by": decision.decided_by,
        "decided_at": decision.decided_at or decided_at,
        "inputs_json": jsonable(decision.inputs),
    }


def decision_of(row: sa.Row[Any]) -> Decision:
    """A decision's row as a record."""
    return Decision(
        model_type=row.model_type,
        candidate_version=row.candidate_version,
        champion_version=row.champion_version,
        outcome=Outcome(row.outcome),
        label=row.label,
        policy=row.policy,
        reason=row.reason,
        numbers=row.numbers_json,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        inputs=row.inputs_json or {},
        decision_id=row.id,
    )


def of_series(series: Series, model_type: str | None = None) -> sa.ColumnElement[bool]:
    """The condition: versions of this series, and of this model type."""
    condition = sa.and_(versions.c.symbol == series.symbol, versions.c.interval == series.interval)
    return condition if model_type is None else sa.and_(condition, versions.c.model_type == str(model_type))
