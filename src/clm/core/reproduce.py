"""Makes a registered version once more from what is stored about it, and says what is not as it was.

Compared in a fixed order: candles → features → parameters → seed → library versions → code version →
artifact. What is found on the way stops nothing: as long as something can be trained, it is, and the bytes
decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from clm.core import plugins, scoring, surroundings
from clm.core.domain import TARGET, ModelArtifact, Series, candles_fingerprint, fingerprint
from clm.core.errors import ClmError, NotReproducible
from clm.core.origin import Origin, Pooled, column_digests, pooled_rows, used_candles
from clm.core.pins import Pins
from clm.core.protocols import FeatureEngineer, TrainedModel

#: A place candles come from, in words, and how to ask it: (first open, end) → candles, None: it lacks some.
CandleSource = tuple[str, Callable[[datetime, datetime], pd.DataFrame | None]]
#: Computes exactly these features for a horizon; raises BadInput where it cannot.
EngineerOf = Callable[[Sequence[str], int], FeatureEngineer]
#: (model type, rows, parameters, seed) → a model.
Train = Callable[[str, pd.DataFrame, Mapping[str, Any], int], TrainedModel]
#: Largest difference of forecasts, relative to the largest forecast, that other library versions may make.
TOLERANCE = 1e-6
#: Training rows on which the rebuilt and the registered model are compared.
_COMPARED = 500
_NAMED = 5


class Verdict(StrEnum):
    """identical: the same bytes. within tolerance: other bytes from the same inputs, the same forecasts."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"


class What(StrEnum):
    """What may differ, in the order in which it is told."""

    CANDLES = "candles"
    FEATURES = "features"
    PARAMETERS = "parameters"
    SEED = "seed"
    LIBRARIES = "library versions"
    CODE = "code version"
    ARTIFACT = "artifact"


#: What a version is made of: where one of these differs, it is another version that was made.
_INPUTS = frozenset({What.CANDLES, What.FEATURES, What.PARAMETERS, What.SEED})


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it was, and how."""

    what: What
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """differences: in the order of `What`. rows: training rows. source: of the candles. sha256, raw: of the
    rebuilt file; None where none came out. deviation: of the forecasts, relative to the largest; None where
    nothing could be compared. notes: worth knowing.
    """

    artifact: ModelArtifact
    verdict: Verdict
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    source: str
    rows: int
    sha256: str | None
    deviation: float | None
    raw: bytes | None = field(default=None, repr=False)

    def view(self) -> dict[str, Any]:
        """As it is told, JSON-ready."""
        return {
            "symbol": self.artifact.series.symbol, "interval": self.artifact.series.interval,
            "model_type": self.artifact.model_type, "version": self.artifact.version,
            "verdict": str(self.verdict),
            "first_difference": str(self.differences[0].what) if self.differences else None,
            "differences": [{"what": str(d.what), "said": d.said} for d in self.differences],
            "notes": list(self.notes), "candles_from": self.source, "rows": self.rows,
            "artifact_sha256": self.artifact.artifact_sha256, "rebuilt_sha256": self.sha256,
            "forecast_deviation": self.deviation,
        }  # fmt: skip


def reproduce(
    artifact: ModelArtifact,
    sources: Sequence[CandleSource],
    engineer_of: EngineerOf,
    train: Train,
    registered: TrainedModel | None,
    others: Callable[[Series], Sequence[CandleSource]],
) -> Reproduced:
    """Rebuilds `artifact` here and now. Stores nothing.

    sources: asked in turn until the candles are those of then; others: those of another series that it was
    trained over. registered: its model, where its file is there. Raises NotReproducible, UnknownModelType,
    and what sources raise when none of them answers.
    """
    if artifact.origin is None:
        raise NotReproducible(
            f"{artifact.model_type} {artifact.version} of {artifact.series} was registered without what it "
            "was made from: by an older CLM, or by other means than a training cycle"
        )
    origin = Origin.from_json(artifact.origin)
    now = {**surroundings.libraries(), **plugins.model_family(artifact.model_type).library_versions()}
    found = _find_candles(artifact, origin, sources)
    told = [Difference(What.CANDLES, found.difference)] if found.difference else []
    told += _in_the_row(artifact, origin)
    told += _libraries({**origin.libraries, **artifact.library_versions}, now)
    told += _code(origin.code, surroundings.code())

    rows: pd.DataFrame | None = None
    model: TrainedModel | None = None
    try:
        rows = _training_rows(found.candles, artifact.series, origin, engineer_of)
        trained_on = rows
        if origin.pooled is not None:
            trained_on, other = _pooled(artifact, origin, origin.pooled, rows, engineer_of, others)
            told += [Difference(What.CANDLES, said) for said in other]
        if len(trained_on) != artifact.training_samples and not found.difference:
            count = (
                f"{artifact.training_samples:,} training rows are registered, {len(trained_on):,} come out"
            )
            told.append(Difference(What.FEATURES, count))
        model = train(artifact.model_type, trained_on, artifact.params, artifact.seed)
    except ClmError as error:
        what = What.FEATURES if rows is None else What.ARTIFACT
        told.append(Difference(what, f"nothing could be trained: {error}"))
    raw = model.to_bytes() if model is not None else None
    sha256 = hashlib.sha256(raw).hexdigest() if raw is not None else None
    deviation = None
    if rows is not None and model is not None:
        deviation = _deviation(model, registered, origin, rows)
        if sha256 != artifact.artifact_sha256:
            told.append(Difference(What.ARTIFACT, _other_bytes(deviation, rows, origin, found.difference)))
    told.sort(key=lambda difference: list(What).index(difference.what))
    return Reproduced(
        artifact=artifact,
        verdict=_verdict(sha256 == artifact.artifact_sha256, told, deviation),
        differences=tuple(told),
        notes=found.notes,
        source=found.source,
        rows=0 if rows is None else len(rows),
        sha256=sha256,
        deviation=deviation,
        raw=raw,
    )


def _verdict(same_bytes: bool, told: Sequence[Difference], deviation: float | None) -> Verdict:
    if same_bytes:
        return Verdict.IDENTICAL
    same_inputs = _INPUTS.isdisjoint(difference.what for difference in told)
    close = same_inputs and deviation is not None and deviation <= TOLERANCE
    return Verdict.WITHIN_TOLERANCE if close else Verdict.DIFFERENT


@dataclass(frozen=True, slots=True)
class _Found:
    """Candles, where they came from, and how they are not those of then; None: they are."""

    candles: pd.DataFrame
    source: str
    difference: str | None
    notes: tuple[str, ...] = ()


def _find_candles(artifact: ModelArtifact, origin: Origin, sources: Sequence[CandleSource]) -> _Found:
    """From the first source that has those of then; else from the last that has any."""
    step = artifact.series.step
    notes: list[str] = []
    failures: list[ClmError] = []
    last: _Found | None = None
    for name, load in sources:
        try:
            candles = load(origin.candles_from, origin.now)
        except ClmError as error:
            failures.append(error)
            notes.append(f"{name} could not be asked: {error}")
            continue
        if candles is None:
            continue
        used = used_candles(candles, artifact.train_end, step)
        if candles_fingerprint(used) == artifact.data_fingerprint:
            if last is not None:
                notes.append(f"{last.source}: {last.difference}")
            return _Found(candles, name, None, tuple(notes))
        if used.empty:
            said = f"{name} has none of them"
        else:
            said = origin.pins.unlike(Pins.of(used, step), step) or (
                "each of them is what it was when they were pinned, but their fingerprint in the registry is "
                "another"
            )
        if last is not None and last.difference != said:
            notes.append(f"{last.source}: {last.difference}")
        last = _Found(candles, name, said)
    if last is None:
        if failures:
            raise failures[-1]
        raise NotReproducible(f"no candles of {artifact.series} are to be had from anywhere")
    return replace(last, notes=tuple(notes))


def _in_the_row(artifact: ModelArtifact, origin: Origin) -> list[Difference]:
    """Where the row says other than what it was trained with."""
    told = []
    if fingerprint(*origin.names) != artifact.feature_schema_hash:
        said = (
            f"the schema hash in the registry, {artifact.feature_schema_hash[:12]}…, is not that of the "
            f"{len(origin.names)} features it was trained on"
        )
        told.append(Difference(What.FEATURES, said))
    names = sorted({*origin.params, *artifact.params})
    other = [
        f"{name} is registered as {row!r}, it was trained with {used!r}"
        for name in names
        if (row := artifact.params.get(name)) != (used := origin.params.get(name))
    ]
    if other:
        told.append(Difference(What.PARAMETERS, "; ".join(other)))
    if artifact.seed != origin.seed:
        said = f"it is registered as {artifact.seed}, it was trained with {origin.seed}"
        told.append(Difference(What.SEED, said))
    return told


def _libraries(then: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    other = [
        f"{name} {then.get(name, 'none')} then, {now.get(name, 'none')} now"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    return [Difference(What.LIBRARIES, "; ".join(other))] if other else []


def _code(then: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    if then == now:
        return []
    old, new = (f"CLM {code['version']} (sources {code['sha256'][:12] or 'unknown'})" for code in (then, now))
    return [Difference(What.CODE, f"{old} then, {new} now")]


def _pooled(
    artifact: ModelArtifact,
    origin: Origin,
    pooled: Pooled,
    own: pd.DataFrame,
    engineer_of: EngineerOf,
    others: Callable[[Series], Sequence[CandleSource]],
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of all series it was trained over, and whose candles are not those of then."""
    frames, told = [], []
    for series, then in pooled.members.items():
        if series == artifact.series:
            frames.append(own)
            continue
        candles = _candles_like(series, then, origin, artifact.train_end, others(series))
        if candles_fingerprint(used_candles(candles, artifact.train_end, series.step)) != then:
            told.append(f"those of {series}, which it was trained over as well, are not those of then")
        frames.append(_training_rows(candles, series, origin, engineer_of))
    return pooled_rows(frames, pooled.every), told


def _candles_like(
    series: Series, then: str, origin: Origin, until: datetime, sources: Sequence[CandleSource]
) -> pd.DataFrame:
    """From the first source that has those of then, else from the last that has any."""
    last: pd.DataFrame | None = None
    for _, load in sources:
        candles = load(origin.candles_from, origin.now)
        if candles is not None:
            last = candles
            if candles_fingerprint(used_candles(candles, until, series.step)) == then:
                break
    if last is None:
        raise NotReproducible(f"no candles of {series}, which it was trained over as well, are to be had")
    return last


def _training_rows(
    candles: pd.DataFrame, series: Series, origin: Origin, engineer_of: EngineerOf
) -> pd.DataFrame:
    """The rows of a series the version was trained on, in its own order of features."""
    step = series.step
    features = engineer_of(origin.names, origin.rule.horizon).transform(candles)
    window = origin.rule.at(origin.now, step).refit
    return window.rows(features, step)[[*origin.names, TARGET]]


def _deviation(
    model: TrainedModel, registered: TrainedModel | None, origin: Origin, rows: pd.DataFrame
) -> float | None:
    """Largest difference on the last training rows: to the registered model, or to what it forecast then."""
    count = _COMPARED if registered is not None else len(origin.tail)
    tail = rows.iloc[-count:]
    rebuilt = scoring.forecasts(model, tail, "rebuilt model")
    then = np.array(origin.tail)
    if registered is not None:
        then = scoring.forecasts(registered, tail, "registered model")
    if len(then) != len(rebuilt) or not np.abs(then).max(initial=0.0) > 0:
        return None
    return float(np.abs(rebuilt - then).max() / np.abs(then).max())


def _other_bytes(
    deviation: float | None, rows: pd.DataFrame, origin: Origin, other_candles: str | None
) -> str:
    said = "the rebuilt file has other bytes"
    if deviation is not None:
        said += f"; its forecasts of the last training rows differ by {deviation:.1e} of the largest"
    digests = column_digests(rows, origin.names)
    changed = [
        name
        for name, now, then in zip((*origin.names, TARGET), digests, origin.columns, strict=True)
        if now != then
    ]
    if changed and other_candles is None:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        said += f"; from the same candles other values come out of {', '.join(changed[:_NAMED])}{more}"
    return said
