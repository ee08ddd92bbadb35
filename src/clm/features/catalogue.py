"""The catalogue: every feature there is, one row each, in the order of the matrix."""

from __future__ import annotations

from clm.features import flow, former, price, risk, shape
from clm.features.feature import Feature

ADVANCED: tuple[Feature, ...] = (*price.FEATURES, *risk.FEATURES, *flow.FEATURES, *shape.FEATURES)
#: Of the catalogue no more; `basic` are those that were in the small one.
FORMER: tuple[Feature, ...] = former.FEATURES
#: All that can be computed for who names it.
KNOWN: tuple[Feature, ...] = (*ADVANCED, *FORMER)
BASIC: tuple[Feature, ...] = tuple(feature for feature in ADVANCED if feature.basic)


def table(features: tuple[Feature, ...] = ADVANCED) -> str:
    """The catalogue as text: name, family, look-back in candles, in the basic set or not."""
    lines = [f"{'name':<32} {'family':<11} {'look-back':>9}  basic"]
    lines += [f"{f.name:<32} {f.family:<11} {f.lookback:>9}  {'yes' if f.basic else ''}" for f in features]
    return "\n".join(line.rstrip() for line in lines)
