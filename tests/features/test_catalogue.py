"""The catalogue: enough features, all causal, all honest about how far they look back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.domain import SCALE, TARGET
from clm.core.errors import InsufficientData, InvalidCandles, InvalidSetting
from clm.features.bars import Bars
from clm.features.catalogue import ADVANCED, BASIC, table
from clm.features.engineer import QuantumFeatureEngineer
from clm.features.feature import Feature
from tests.support.candles import random_walk, real_candles

FAMILIES = {"returns", "trend", "momentum", "volatility", "flow", "shape", "calendar", "cross"}


def test_there_are_enough_features_of_every_family_under_names_of_their_own() -> None:
    assert len(ADVANCED) >= 100
    assert 20 <= len(BASIC) <= 30
    assert len({feature.name for feature in ADVANCED}) == len(ADVANCED)
    assert {feature.family for feature in ADVANCED} == FAMILIES
    assert {feature.family for feature in BASIC} == FAMILIES
    assert set(BASIC) <= set(ADVANCED)
    assert SCALE in {feature.name for feature in BASIC}
    assert len(table().splitlines()) == len(ADVANCED) + 1


@pytest.mark.parametrize("advanced", [True, False])
def test_the_warm_up_is_the_longest_look_back(advanced: bool) -> None:
    engineer = QuantumFeatureEngineer(use_advanced=advanced)

    assert engineer.warmup == max(feature.lookback for feature in engineer.catalogue)
    assert engineer.get_feature_names() == [feature.name for feature in engineer.catalogue]


def _looks_ahead(features: tuple[Feature, ...], candles: pd.DataFrame, cuts: list[int]) -> list[str]:
    """Names of features whose value at some row changes by a single bit when what follows is cut off."""
    whole = Bars.of(candles)
    found = set()
    for feature in features:
        full = feature.function(whole)
        for cut in cuts:
            part = feature.function(Bars.of(candles.iloc[:cut]))
            if not np.array_equal(part[feature.lookback :], full[feature.lookback : cut]):
                found.add(feature.name)
    return sorted(found)


def test_no_feature_changes_by_a_bit_when_the_future_is_cut_off() -> None:
    candles = real_candles(start="2024-01-01", end="2024-06-01")

    assert _looks_ahead(ADVANCED, candles, [400, 1001, 2222, len(candles) - 1]) == []


def test_a_planted_look_ahead_is_found_by_that_very_check() -> None:
    candles = random_walk(1200)
    peeks = Feature("tomorrow", "returns", 0, lambda b: np.append(b.r[1:], 0.0))
    centred = Feature(
        "centred_mean", "trend", 0,
        lambda b: pd.Series(b.r).rolling(5, center=True, min_periods=1).mean().to_numpy(),
    )  # fmt: skip
    scaled_by_all = Feature("z_score_over_all", "returns", 0, lambda b: b.r / b.r.std())

    found = _looks_ahead((*ADVANCED[:5], peeks, centred, scaled_by_all), candles, [700])

    assert found == ["centred_mean", "tomorrow", "z_score_over_all"]


def test_a_long_history_is_computed_in_blocks_and_no_value_differs_by_a_bit() -> None:
    candles = random_walk(33_000)
    engineer = QuantumFeatureEngineer(past={"commodity_channel_72": 3, "trend_slope_168": 40})

    made = engineer.transform(candles)

    whole, wrong = Bars.of(candles), []
    for feature in ADVANCED:
        values = feature.function(whole).astype(np.float32)
        if not np.array_equal(made[feature.name].to_numpy(), values[engineer.warmup :]):
            wrong.append(feature.name)
    assert wrong == []
    before = made["trend_slope_168@39"].to_numpy()[39:]
    assert np.array_equal(before, made["trend_slope_168"].to_numpy()[:-39])


def test_no_feature_looks_back_further_than_it_says() -> None:
    """Everything older than a feature's look-back is replaced; its value stays the same to 1e-6."""
    candles = real_candles(start="2024-03-01", end="2024-04-15")
    at = len(candles) - 1
    whole, wrong = Bars.of(candles), []
    for feature in ADVANCED:
        shortest = max(feature.lookback, 1)
        alone = feature.function(Bars.of(candles.iloc[at - shortest :]))[-1]
        value = feature.function(whole)[-1]
        if abs(alone - value) > 1e-6 * max(abs(value), 1e-2):
            wrong.append((feature.name, value, alone))
    assert wrong == []


def test_a_look_back_that_is_too_short_is_found_by_that_very_check() -> None:
    candles = random_walk(600)
    honest = next(feature for feature in ADVANCED if feature.name == "price_to_sma_96")
    short = replace(honest, lookback=90)

    whole = short.function(Bars.of(candles))[-1]
    alone = short.function(Bars.of(candles.iloc[-1 - short.lookback :]))[-1]

    assert abs(alone - whole) > 1e-6 * abs(whole)


@pytest.mark.parametrize("name", ["BTCUSDT-1h", "BTCUSDT-5m"])
def test_warm_up_history_gives_what_all_history_gives(name: str) -> None:
    candles = real_candles(name, start="2024-01-01", end="2024-06-01")
    engineer = QuantumFeatureEngineer()
    everything = engineer.transform(candles)

    for end in (len(candles) // 3, len(candles) - 10):
        recent = engineer.transform(candles.iloc[end - engineer.warmup - 5 : end]).drop(columns=TARGET)
        reference = everything.loc[recent.index].drop(columns=TARGET)
        difference = np.abs(recent.to_numpy(np.float64) - reference.to_numpy(np.float64))
        assert (difference / np.maximum(np.abs(reference.to_numpy(np.float64)), 1e-2)).max() <= 1e-6


def test_scale_of_prices_and_volumes_does_not_matter() -> None:
    candles = real_candles(start="2024-03-01", end="2024-05-01")
    dearer = candles.copy()
    dearer[["open", "high", "low", "close"]] *= 7
    dearer[["volume", "taker_buy_base"]] *= 3
    dearer["quote_volume"] *= 21

    one, other = (QuantumFeatureEngineer().transform(c).drop(columns=TARGET) for c in (candles, dearer))

    # A candle's average trade grows with the volume, and so does its usual average: the ratio stays.
    assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_every_value_is_finite_and_of_moderate_size_on_six_real_years() -> None:
    frame = QuantumFeatureEngineer().transform(real_candles())

    values = frame.drop(columns=TARGET)
    assert (values.dtypes == np.float32).all()
    assert np.isfinite(values.to_numpy()).all()
    assert values.abs().to_numpy().max() < 1000
    assert (values[SCALE] > 0).all()
    assert (values.std() > 0).all()


def test_features_are_about_as_wide_in_one_year_as_in_another() -> None:
    """No price level or volume level hides among them: each one's spread stays within a factor of four."""
    frame = QuantumFeatureEngineer().transform(real_candles()).drop(columns=TARGET)
    early, late = (frame.loc[year].quantile(0.9) - frame.loc[year].quantile(0.1) for year in ("2020", "2024"))
    calm = (early / late).drop([name for name in frame if name == SCALE])

    assert ((calm > 0.25) & (calm < 4)).all(), calm[(calm <= 0.25) | (calm >= 4)]


class TestGaps:
    """A missing candle ends a run; the next one warms up again."""

    def test_no_row_spans_a_gap_and_none_is_given_before_its_history_is_full(self) -> None:
        candles = random_walk(1000)
        broken = candles.drop(candles.index[500:503])
        engineer = QuantumFeatureEngineer()

        frame = engineer.transform(broken)

        first = engineer.transform(candles.iloc[:500])
        second = engineer.transform(candles.iloc[503:])
        pd.testing.assert_frame_equal(frame, pd.concat([first, second]))
        assert np.isnan(frame.loc[candles.index[499], TARGET])
        assert frame.index[len(first)] == candles.index[503 + engineer.warmup]

    def test_runs_that_are_too_short_leave_no_row_and_no_run_at_all_is_an_error(self) -> None:
        candles = random_walk(900)
        engineer = QuantumFeatureEngineer()
        frame = engineer.transform(candles.drop(candles.index[100]))
        assert frame.index[0] == candles.index[101 + engineer.warmup]

        with pytest.raises(InsufficientData, match=f"longer than {engineer.warmup} candles"):
            engineer.transform(candles.iloc[: engineer.warmup])

    def test_real_outages_leave_holes_of_their_length_and_warm_up(self) -> None:
        candles = real_candles(start="2019-01-01", end="2020-01-01")
        engineer = QuantumFeatureEngineer()

        frame = engineer.transform(candles)

        assert len(frame) < len(candles) - engineer.warmup
        assert frame.index.isin(candles.index).all()
        steps = frame.index.to_series().diff().dropna()
        assert set(steps[steps > pd.Timedelta(hours=1)] > pd.Timedelta(hours=engineer.warmup)) == {True}


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_target_is_the_log_return_of_the_next_candles_and_unknown_at_the_end(horizon: int) -> None:
    candles = random_walk(400)
    frame = QuantumFeatureEngineer(horizon=horizon).transform(candles)

    close = np.log(candles["close"])
    expected = (close.shift(-horizon) - close).loc[frame.index]
    assert np.allclose(frame[TARGET].iloc[:-horizon], expected.iloc[:-horizon], rtol=0, atol=1e-12)
    assert frame[TARGET].iloc[-horizon:].isna().all()


@pytest.mark.parametrize(
    "change",
    [
        {"volume": 0.0, "quote_volume": 0.0, "taker_buy_base": 0.0, "trades": 0},
        {"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0},
    ],
    ids=["no trade for 300 candles", "no move for 300 candles"],
)
def test_a_dead_market_gives_neutral_values_and_no_nonsense(change: dict[str, float]) -> None:
    candles = random_walk(900)
    for name, value in change.items():
        candles.loc[candles.index[300:600], name] = value

    values = QuantumFeatureEngineer().transform(candles).drop(columns=TARGET).to_numpy()

    assert np.isfinite(values).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["5min", "1h", "1D"]), st.floats(1e-5, 0.05))
def test_any_market_at_any_interval_gives_finite_causal_rows(seed: int, freq: str, volatility: float) -> None:
    candles = random_walk(420, seed=seed, freq=freq, volatility=volatility)
    engineer = QuantumFeatureEngineer()

    whole, part = engineer.transform(candles), engineer.transform(candles.iloc[:400])

    assert np.isfinite(whole.drop(columns=TARGET).to_numpy()).all()
    pd.testing.assert_frame_equal(
        part.drop(columns=TARGET), whole.loc[part.index].drop(columns=TARGET), check_exact=True
    )


def test_calendar_features_turn_once_a_day_and_once_a_week() -> None:
    frame = QuantumFeatureEngineer().transform(random_walk(168 * 4))
    day, week = (frame[[f"{p}_sin", f"{p}_cos"]].round(6).drop_duplicates() for p in ("day", "week"))

    assert (len(day), len(week)) == (24, 168)


class TestRefusals:
    """What is no candle frame gives no features."""

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda c: c.drop(columns="trades"), "lack the columns trades"),
            (lambda c: c.iloc[::-1], "strictly increasing"),
            (lambda c: pd.concat([c, c.iloc[-1:]]), "strictly increasing"),
            (
                lambda c: c.assign(close=np.where(np.arange(len(c)) == 7, np.nan, c["close"])),
                "2024-01-01 07:00",
            ),
            (lambda c: c.assign(low=0.0), "not positive"),
            (lambda c: c.assign(volume=-1.0), "negative amount"),
            (lambda c: c.reset_index(drop=True), "DatetimeIndex"),
        ],
    )
    def test_with_the_reason(self, spoil: object, said: str) -> None:
        assert callable(spoil)
        with pytest.raises(InvalidCandles, match=said):
            QuantumFeatureEngineer().transform(spoil(random_walk(400)))

    def test_a_horizon_that_is_none(self) -> None:
        with pytest.raises(InvalidSetting, match="horizon"):
            QuantumFeatureEngineer(horizon=0)
