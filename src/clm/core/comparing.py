"""Two versions side by side: what each was made of, how it fared, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clm.core.domain import Decision, ModelArtifact
from clm.core.wire import jsonable


def compared(a: ModelArtifact, b: ModelArtifact, last: Mapping[str, Decision | None]) -> list[dict[str, Any]]:
    """Entries `group, name, a, b, same`, JSON-ready. last: version → the newest decision about it.

    Groups: version, metrics, recipe, features, lineage, evidence, training.
    """
    one, other = (dict(_facts(artifact, last.get(artifact.version))) for artifact in (a, b))
    names = list(dict.fromkeys((*one, *other)))
    order = list(dict.fromkeys(group for group, _ in names))
    names.sort(key=lambda name: order.index(name[0]))
    return [
        {"group": group, "name": name, "a": one.get((group, name)), "b": other.get((group, name)),
         "same": one.get((group, name)) == other.get((group, name))}
        for group, name in names
    ]  # fmt: skip


def features_of(a: ModelArtifact, b: ModelArtifact) -> dict[str, Any]:
    """Names of features that only one of two versions has, and how many both have; None: not on record."""
    one, other = (set((artifact.origin or {}).get("features", ())) for artifact in (a, b))
    if not one or not other:
        return {"both": None, "only_a": [], "only_b": []}
    return {"both": len(one & other), "only_a": sorted(one - other), "only_b": sorted(other - one)}


def _facts(artifact: ModelArtifact, last: Decision | None) -> Iterator[tuple[tuple[str, str], Any]]:
    origin, certificate = artifact.origin or {}, artifact.certificate or {}
    facts: dict[str, Mapping[str, Any]] = {
        "version": {
            "status": artifact.status, "trained": artifact.trained_at, "promoted": artifact.promoted_at,
            "retired": artifact.retired_at, "notes": artifact.notes or None,
            "artifact SHA-256": artifact.artifact_sha256,
        },
        "metrics": artifact.metrics,
        "recipe": {
            "recipe": artifact.recipe_id, "seed": artifact.seed, **artifact.params,
            **{f"library {name}": value for name, value in artifact.library_versions.items()},
            "code": (origin.get("code") or {}).get("version"),
        },
        "features": {
            "number": len(origin["features"]) if origin.get("features") else None,
            "schema": artifact.feature_schema_hash,
        },
        "lineage": {"trained from": artifact.parent_version, "replaced": artifact.replaced_version},
        "evidence": {
            "last decision": last and f"{last.outcome} ({last.label})",
            "because": last and last.reason,
            "log E": last and last.numbers.get("log_e"),
            "certificate": "none" if not certificate else "; ".join(certificate["problems"]) or "sound",
            "compared candles": certificate.get("compared_candles"),
            "canary z": certificate.get("canary_z"),
        },
        "training": {
            "from": artifact.train_start, "to": artifact.train_end, "rows": artifact.training_samples,
            "candles' fingerprint": artifact.data_fingerprint,
        },
    }  # fmt: skip
    for group, named in facts.items():
        for name, value in named.items():
            yield (group, name), jsonable(value)
