"""What names in paths, queries and bodies are made of; nothing else needs to be looked up."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AwareDatetime, BeforeValidator, StringConstraints

#: Versions, runs and experiments are named like this by whoever makes them.
NAME = r"^[A-Za-z0-9_.-]+$"
_VERSION, _ID = 100, 40


def _no_number(said: object) -> object:
    """Seconds since 1970 are no moment that a person writes; pydantic takes any number for them."""
    if isinstance(said, str) and ":" not in said:
        raise ValueError("a moment is written 2024-12-31T00:00:00Z")
    return said


Moment = Annotated[AwareDatetime, BeforeValidator(_no_number)]
VersionName = Annotated[str, StringConstraints(min_length=1, max_length=_VERSION, pattern=NAME)]
Version = Annotated[str, Path(max_length=_VERSION, pattern=NAME, examples=["v20241231_000000"])]
VersionAsked = Annotated[str | None, Query(max_length=_VERSION, pattern=NAME, examples=["v20241231_000000"])]
RunId = Annotated[str, Path(max_length=_ID, pattern=NAME, examples=["r20241231_000000_1f3a"])]
ExperimentId = Annotated[str, Path(max_length=_ID, pattern=NAME, examples=["x20241231_000000_1f3a9c"])]
Symbol = Annotated[
    str | None, Query(description="configured symbol; default: the first", examples=["BTCUSDT"])
]
Interval = Annotated[str | None, Query(description="candle length; default: the configured", examples=["1h"])]
Limit = Annotated[int, Query(ge=1, le=500)]
ModelFilter = Annotated[str | None, Query(description="one model type; default: all", examples=["xgboost"])]
ModelTypeName = Annotated[str, Path(description="xgboost, lightgbm, …", examples=["xgboost"])]
