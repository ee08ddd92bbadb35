"""What candidates have in common whose evidence adds up: one recipe, one ledger a reign."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clm.core.domain import fingerprint
from clm.core.protocols import TrainedModel
from clm.core.timeline import TimelineRule


@dataclass(frozen=True, slots=True)
class Recipe:
    """params: hyper-parameters without the seed, which is none. schema: hash of the features' names."""

    recipe_id: str
    schema: str
    params: Mapping[str, Any]
    seed: int

    @classmethod
    def of(cls, model_type: str, model: TrainedModel, rule: TimelineRule, *, pooled: bool = False) -> Recipe:
        """Family, features, hyper-parameters and training rule of a model. pooled: over several series."""
        params = dict(model.params)
        seed = int(params.pop("seed", 0))
        schema = fingerprint(*model.feature_names)
        rows = ("pooled",) if pooled else ()
        told = fingerprint(model_type, schema, json.dumps(params, sort_keys=True), repr(rule), *rows)
        return cls(told[:16], schema, params, seed)
