"""Former features: computed for a model that reads them, once, beside what every model is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
import pytest

from clm.core.domain import TARGET
from clm.core.errors import BadInput
from clm.core.newest import newest_row
from clm.core.sheet import Sheet, SheetRow
from clm.core.sight import Sight
from clm.features.catalogue import ADVANCED, BASIC, FORMER
from clm.features.engineer import QuantumFeatureEngineer
from tests.support.candles import random_walk
from tests.support.parts import TwoFeatures

CANDLES = random_walk(900)
NAMES = [feature.name for feature in ADVANCED]
OLD = [feature.name for feature in FORMER]


class Counting(QuantumFeatureEngineer):
    """Remembers which former features it was asked for."""

    asked: tuple[tuple[str, ...], ...] = ()

    def of_former(self, names: Sequence[str]) -> Self:
        self.asked = (*self.asked, tuple(names))
        return super().of_former(names)


class Reader:
    """A model, as far as what it reads goes."""

    def __init__(self, *names: str) -> None:
        self.feature_names = names


def sheet_of(engineer: QuantumFeatureEngineer) -> Sheet:
    return Sheet(engineer, CANDLES)


def test_nothing_former_is_computed_where_nobody_reads_it() -> None:
    engineer = Counting()
    sheet, row = sheet_of(engineer), SheetRow(engineer, CANDLES)
    new = Reader("return_1", "trend_slope_24")

    frame, (names, values) = sheet.of(new, Reader()), row.of(new)  # type: ignore[arg-type]

    assert frame is sheet.frame
    assert list(frame.columns) == [*NAMES, TARGET]
    assert (list(names), len(values)) == (NAMES, len(NAMES))
    assert engineer.asked == ()


def test_what_is_read_is_computed_once_whoever_reads_it_and_equals_the_old_catalogues() -> None:
    engineer = Counting()
    sheet = sheet_of(engineer)
    one, two = Reader("slope_6", "return_1"), Reader("macd_12_26", "slope_6")

    first, second = sheet.of(one), sheet.of(one, two)  # type: ignore[arg-type]

    assert engineer.asked == (("slope_6",), ("macd_12_26",))
    assert sheet.of(one) is first  # type: ignore[arg-type]
    assert list(first.columns) == [*NAMES, TARGET, "slope_6"]
    assert list(second.columns) == [*NAMES, TARGET, "slope_6", "macd_12_26"]
    everything = QuantumFeatureEngineer.of([*NAMES, *OLD]).transform(CANDLES)
    pd.testing.assert_frame_equal(second, everything[list(second.columns)], check_exact=True)
    pd.testing.assert_frame_equal(sheet.frame, everything[[*NAMES, TARGET]], check_exact=True)


def test_across_gaps_and_jumps_there_are_as_many_rows_as_before() -> None:
    candles = CANDLES.drop(CANDLES.index[300])
    candles.iloc[600:, :4] *= 40
    engineer = QuantumFeatureEngineer(max_jump=30)

    sheet = Sheet(engineer, candles)
    whole = sheet.telling(OLD)

    assert whole.index.equals(sheet.frame.index)
    assert len(whole) < len(candles) - 3 * engineer.warmup + 3
    assert np.isfinite(whole[OLD].to_numpy()).all()


def test_the_newest_row_has_them_too_within_the_promise() -> None:
    engineer = Counting()
    row = SheetRow(engineer, CANDLES)

    for _ in range(2):
        names, values = row.of(Reader(*OLD))  # type: ignore[arg-type]

    assert engineer.asked == (tuple(OLD),)
    assert list(names) == [*NAMES, *OLD]
    batch = sheet_of(engineer).telling(OLD)[list(names)].iloc[-1].to_numpy(np.float64)
    assert np.abs(values - batch).max() <= 1e-6 * np.maximum(np.abs(batch), 1e-2).max()
    assert np.array_equal(values[: len(NAMES)], newest_row(engineer, CANDLES))


def test_under_basic_those_that_were_basic_are_known_and_of_others_the_setting_is_named() -> None:
    engineer = QuantumFeatureEngineer(use_advanced=False)

    assert list(engineer.former) == [feature.name for feature in FORMER if feature.basic]
    assert {feature.name for feature in BASIC} <= set(Sight.of(engineer).names)
    assert "slope_24" in Sight.of(engineer).names
    assert "slope_6" not in Sight.of(engineer).names
    assert engineer.why_not(["slope_6"]) == "CLM_FEATURES=basic"
    assert QuantumFeatureEngineer().why_not(["slope_6", "of_the_moon"]) is None


def test_an_engineer_without_former_features_is_as_good_as_before() -> None:
    engineer = TwoFeatures()
    sheet = Sheet(engineer, CANDLES)

    assert sheet.telling(["slope_6"]) is sheet.frame
    assert set(Sight.of(engineer).names) == set(engineer.get_feature_names())


def test_what_has_no_warm_up_for_them_does_not_promise_them() -> None:
    assert list(QuantumFeatureEngineer.of(["body"]).former) == []


def test_a_network_looks_back_on_no_former_feature() -> None:
    with pytest.raises(BadInput, match="slope_24"):
        QuantumFeatureEngineer(past={"slope_24": 8})
