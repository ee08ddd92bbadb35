"""Records, names and their JSON form."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.domain import Series, candles_fingerprint, candles_fingerprints, fingerprint, utc, version_name
from clm.core.errors import BadInput, UnknownInterval
from clm.core.wire import iso, jsonable
from tests.support.candles import random_walk


@pytest.mark.parametrize("symbol", ["", "btcusdt", "BTC/USDT", "B", "../../ETC", "X" * 21])
def test_a_symbol_that_is_none_is_refused(symbol: str) -> None:
    with pytest.raises(BadInput, match="symbol"):
        Series(symbol, "1h")


def test_an_interval_we_do_not_know_is_refused_with_those_we_do() -> None:
    with pytest.raises(UnknownInterval, match="1m, 3m, 5m"):
        Series("BTCUSDT", "7m")


def test_times_without_a_timezone_are_refused() -> None:
    with pytest.raises(BadInput, match="timezone"):
        utc(datetime(2024, 1, 1))


def test_versions_are_named_by_their_second_and_never_twice() -> None:
    moment = datetime(2025, 1, 30, 14, 0, 0, tzinfo=timezone(timedelta(hours=2)))

    assert version_name(moment) == "v20250130_120000"
    assert version_name(moment, frozenset({"v20250130_120000"})) == "v20250130_120000_2"
    assert version_name(moment, frozenset({"v20250130_120000", "v20250130_120000_2"})).endswith("_3")


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_a_fingerprint_never_confuses_where_one_part_ends(a: list[str], b: list[str]) -> None:
    assert (fingerprint(*a) == fingerprint(*b)) == (a == b)


def test_one_changed_price_changes_the_candles_fingerprint() -> None:
    candles = random_walk(50)
    changed = candles.copy()
    changed.iloc[20, 3] = np.nextafter(changed.iloc[20, 3], np.inf)

    assert candles_fingerprint(candles) == candles_fingerprint(candles.copy())
    assert candles_fingerprint(candles) != candles_fingerprint(changed)
    assert candles_fingerprint(candles) != candles_fingerprint(candles.iloc[1:])


def test_fingerprints_of_many_windows_are_those_of_each_window_alone() -> None:
    candles = random_walk(50)

    of = candles_fingerprints(candles)

    windows = [(0, 50), (0, 1), (7, 30), (49, 50)]
    assert [of(*w) for w in windows] == [candles_fingerprint(candles.iloc[slice(*w)]) for w in windows]


def test_the_json_form_is_json_and_says_utc() -> None:
    view = jsonable(
        {
            "when": pd.Timestamp("2024-12-31T23:00:00Z"), "nan": float("nan"), "n": np.int64(3),
            "length": timedelta(hours=1), "series": Series("BTCUSDT", "1h"), "many": (1.5, None),
        }
    )  # fmt: skip

    assert json.loads(json.dumps(view, allow_nan=False)) == {
        "when": "2024-12-31T23:00:00Z", "nan": None, "n": 3, "length": 3600.0,
        "series": {"symbol": "BTCUSDT", "interval": "1h"}, "many": [1.5, None],
    }  # fmt: skip
    assert iso(datetime(2024, 1, 1, tzinfo=UTC)) == "2024-01-01T00:00:00Z"


def test_what_has_no_json_form_is_said_so() -> None:
    with pytest.raises(TypeError, match="object"):
        jsonable(object())
