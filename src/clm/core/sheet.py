"""Features of some candles as models want them: those every model is given, and former ones where one reads
them. What nobody reads is not computed, and nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from clm.core.domain import FeatureRow
from clm.core.newest import newest_row
from clm.core.protocols import FeatureEngineer, FormerEngineer, TrainedModel


class Sheet:
    """All rows there are.

    frame: what new models are trained on and judged by, as `FeatureEngineer.transform` returns it.
    Raises what it raises.
    """

    def __init__(self, engineer: FeatureEngineer, candles: pd.DataFrame) -> None:
        self._engineer, self._candles = engineer, candles
        self.frame = engineer.transform(candles)
        self._former: dict[str, pd.Series] = {}
        self._whole: dict[tuple[str, ...], pd.DataFrame] = {(): self.frame}

    def of(self, *models: TrainedModel | None) -> pd.DataFrame:
        """`frame`, and the former features that these models, if any, read beside it."""
        return self.telling(name for model in models if model is not None for name in model.feature_names)

    def telling(self, names: Iterable[str]) -> pd.DataFrame:
        """`frame`, and those of `names` beside it that are former features."""
        wanted = tuple(former_of(self._engineer, names))
        if wanted in self._whole:
            return self._whole[wanted]
        lacking = [name for name in wanted if name not in self._former]
        if lacking and isinstance(self._engineer, FormerEngineer):
            made = self._engineer.of_former(lacking).transform(self._candles).loc[self.frame.index]
            self._former |= {name: made[name] for name in lacking}
        whole = pd.concat([self.frame, *(self._former[name] for name in wanted)], axis=1)
        self._whole[wanted] = whole
        return whole


class SheetRow:
    """The newest candle's alone, by the quick way. names, row: what is known by now."""

    def __init__(self, engineer: FeatureEngineer, candles: pd.DataFrame) -> None:
        self._engineer, self._candles = engineer, candles
        self.names, self.row = engineer.get_feature_names(), newest_row(engineer, candles)

    def of(self, model: TrainedModel) -> tuple[Sequence[str], FeatureRow]:
        """Names and values: of every feature, and of former ones that this model reads."""
        # What an engineer is takes longer to find out than all that most models need: nothing more.
        beside = set(model.feature_names).difference(self.names)
        lacking = former_of(self._engineer, beside) if beside else []
        if lacking and isinstance(self._engineer, FormerEngineer):
            made = newest_row(self._engineer.of_former(lacking), self._candles)
            self.names, self.row = [*self.names, *lacking], np.concatenate([self.row, made])
        return self.names, self.row


def former_of(engineer: FeatureEngineer, names: Iterable[str]) -> list[str]:
    """Those of `names` that are former features, in the engineer's order."""
    if not isinstance(engineer, FormerEngineer):
        return []
    wanted = set(names)
    return [name for name in engineer.former if name in wanted]
