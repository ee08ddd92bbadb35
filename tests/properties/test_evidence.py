"""The evidence ledger: fair to both models, blind to order and repetition, fooled no oftener than α."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.core.errors import BadInput
from clm.core.evidence import (
    POOLED_STAKES,
    STAKES,
    Bet,
    Evidence,
    Ledger,
    bets_of,
    gains,
    log_growth,
    stakes_for,
)
from clm.core.pooled_bets import PooledBets, Stood, joining, pooled_by_candle
from clm.core.variance import VARIANCE_MEMORY, predictable_variance, variance_after

HOUR = timedelta(hours=1)
T0 = datetime(2024, 1, 1, tzinfo=UTC)
NUMBERS = st.floats(-0.5, 0.5, allow_nan=False)
VARIANCES = st.floats(1e-10, 0.1)


@given(NUMBERS, NUMBERS, NUMBERS, VARIANCES)
def test_a_gain_never_exceeds_its_bound_and_turns_its_sign_with_the_models(
    r: float, a: float, b: float, variance: float
) -> None:
    one, other, returns, level = (np.array([x]) for x in (a, b, r, variance))

    d, bound = gains(returns, one, other, level)
    back, same_bound = gains(returns, other, one, level)

    assert abs(d[0]) <= bound[0] * (1 + 1e-12)
    assert d[0] == -back[0]
    assert bound[0] == same_bound[0]


@given(NUMBERS, NUMBERS, VARIANCES)
def test_within_the_clip_a_gain_is_the_difference_of_squared_errors(
    a: float, b: float, variance: float
) -> None:
    r = (a + b) / 2 + 2.9 * np.sqrt(variance)

    d, _ = gains(*(np.array([x]) for x in (r, a, b, variance)))

    assert d[0] == pytest.approx(((r - a) ** 2 - (r - b) ** 2) / variance, rel=1e-6, abs=1e-9)


@given(st.lists(NUMBERS, min_size=2, max_size=50), st.integers(0, 49))
def test_a_variance_is_known_before_its_candle(returns: list[float], at: int) -> None:
    at = min(at, len(returns) - 1)
    other = [*returns[:at], *(r + 1 for r in returns[at:])]

    one, two = (predictable_variance(np.array(r), 1e-4) for r in (returns, other))

    assert (one[: at + 1] == two[: at + 1]).all()
    assert (one > 0).all()


def test_one_shock_moves_the_variance_no_more_than_its_cap() -> None:
    known = predictable_variance(np.array([1.0, 0.0]), 1e-4)

    assert known[1] == pytest.approx(1e-4 * (0.97 + 0.03 * 16))


def _bets(seed: int, n: int) -> list[Bet]:
    rng = np.random.default_rng(seed)
    bound = rng.uniform(0.01, 3, n)
    gain = rng.uniform(-1, 1, n) * bound
    return [Bet(T0 + k * HOUR, float(d), float(b)) for k, (d, b) in enumerate(zip(gain, bound, strict=True))]


@given(st.integers(0, 500), st.integers(1, 60), st.randoms())
def test_order_and_repetition_change_nothing(seed: int, n: int, random: object) -> None:
    bets = _bets(seed, n)
    shuffled = [*bets, *bets[: n // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert Ledger().after(shuffled) == Ledger().after(bets)


@given(st.integers(0, 500), st.integers(1, 60), st.integers(0, 60))
def test_portions_add_up_to_the_whole_and_old_candles_are_not_bet_on_again(
    seed: int, n: int, cut: int
) -> None:
    bets = _bets(seed, n)

    portions = Ledger().after(bets[:cut]).after(bets[:cut]).after(bets)

    assert portions == Ledger().after(bets)
    assert portions.bets == n


@given(st.integers(0, 500), st.integers(2, 60), st.integers(0, 59))
def test_a_missing_candle_is_no_bet(seed: int, n: int, gap: int) -> None:
    bets = _bets(seed, n)
    left = [bet for k, bet in enumerate(bets) if k != gap % n]

    ledger = Ledger().after(left)

    assert ledger.bets == n - 1
    gain, bound = (np.array([getattr(b, name) for b in left]) for name in ("gain", "bound"))
    expected = log_growth(gain, bound, STAKES)
    assert ledger.log_wealth == pytest.approx(expected.sum(axis=0))


def test_a_candle_without_a_forecast_or_an_outcome_is_no_bet() -> None:
    times = pd.date_range(T0, periods=4, freq="h")
    returns, champion = np.array([0.01, np.nan, 0.01, 0.01]), np.array([0.0, 0.0, np.nan, 0.0])

    bets = bets_of(times, returns, champion, np.full(4, 0.001), np.full(4, 1e-4))

    assert [bet.time for bet in bets] == [T0, T0 + 3 * HOUR]


@given(st.integers(0, 500), st.integers(0, 60))
def test_a_ledger_survives_being_written_down(seed: int, n: int) -> None:
    ledger = Ledger(POOLED_STAKES).after(_bets(seed, n))

    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger


@given(st.integers(0, 500), st.integers(1, 60))
def test_no_bet_can_ruin_a_ledger(seed: int, n: int) -> None:
    worst = [Bet(bet.time, -bet.bound, bet.bound) for bet in _bets(seed, n)]

    ledger = Ledger(POOLED_STAKES).after(worst)

    assert min(ledger.log_wealth) >= n * np.log(0.5) - 1e-9


def test_models_that_agree_leave_the_evidence_at_one() -> None:
    same = [Bet(T0 + k * HOUR, 0.0, 0.0) for k in range(100)]

    assert Ledger().after(same).log_e == 0


def test_the_guards_ledger_is_the_other_models_view() -> None:
    bets = _bets(3, 40)

    assert Ledger().after(bet.reversed() for bet in bets).total == pytest.approx(-Ledger().after(bets).total)


class TestPooling:
    def test_is_one_bet_a_candle_the_mean_of_the_symbols(self) -> None:
        own = Bet(T0, 0.3, 1.0)
        gains = {"ETHUSDT": {T0: (-0.1, 0.5)}, "BTCUSDT": {T0: (0.1, 0.3), T0 + HOUR: (0.2, 0.4)}}
        pool = pooled_by_candle(gains)[T0].with_own("SOLUSDT", own)

        assert list(pool.members) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
        bet = pool.bet_of("SOLUSDT", own)
        assert (bet.time, bet.gain, bet.bound) == (T0, pytest.approx(0.1), pytest.approx(0.6))

    def test_is_told_apart_by_its_members_alone(self) -> None:
        gains = {"ETHUSDT": {T0: (-0.1, 0.5)}, "BTCUSDT": {T0: (0.1, 0.3)}}
        (pool,) = pooled_by_candle(gains).values()
        (again,) = pooled_by_candle(dict(reversed(gains.items()))).values()

        assert pool.sha256 == again.sha256
        assert pool.with_own("ETHUSDT", Bet(T0, -0.1, 0.5)) is pool
        moved = pool.with_own("ETHUSDT", Bet(T0, -0.2, 0.5))
        assert moved.sha256 != pool.sha256

    def test_a_series_alone_bets_its_own(self) -> None:
        own = Bet(T0, 0.1, 0.3)
        (pool,) = pooled_by_candle({"BTCUSDT": {T0: (0.1, 0.3)}}).values()

        assert pool.bet_of("BTCUSDT", own) == own
        assert joining(None, "BTCUSDT", own) == pool

    @given(
        st.lists(st.tuples(st.integers(0, 5), st.floats(-1, 1)), min_size=1, max_size=40), st.integers(0, 9)
    )
    def test_who_joins_bets_the_mean_of_everybodys_newest_bets(
        self, bets: list[tuple[int, float]], together: int
    ) -> None:
        newest = {f"T{n}": 0.1 * n for n in range(together)}
        stood = PooledBets({s: (gain, 1.0) for s, gain in newest.items()}) if newest else None
        for number, gain in bets:
            symbol, own = f"C{number}", Bet(T0, gain, 1.0)
            former = (newest[symbol], 1.0) if symbol in newest else None
            pool = joining(Stood(stood, former) if stood else None, symbol, own)
            newest[symbol] = gain

            bet = pool.bet_of(symbol, own)

            assert (bet.gain, bet.bound) == (
                pytest.approx(fmean(newest.values()), abs=1e-12), pytest.approx(1.0)
            )  # fmt: skip
            assert (pool.total.count, pool.total.first) == (len(newest), (stood or pool).total.first)
            assert stood is None or stood.sha256 != pool.sha256
            stood = pool

    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=40))
    def test_every_member_comes_to_the_same_bet_but_for_rounding(self, gains: list[float]) -> None:
        bets = {f"C{n:03d}USDT": {T0: (gain, 1.0)} for n, gain in enumerate(gains)}
        (pool,) = pooled_by_candle(bets).values()

        for symbol, (gain, bound) in pool.members.items():
            bet = pool.bet_of(symbol, Bet(T0, gain, bound))
            assert (bet.gain, bet.bound) == (pytest.approx(fmean(gains)), pytest.approx(1.0))

    def test_of_three_symbols_bets_more_boldly(self) -> None:
        assert [stakes_for(n) for n in (1, 2, 3, 10)] == [STAKES, STAKES, POOLED_STAKES, POOLED_STAKES]


class TestLongerHorizons:
    @pytest.mark.parametrize("horizon", [1, 3])
    def test_bets_of_one_ledger_never_overlap(self, horizon: int) -> None:
        evidence = Evidence.start(HOUR, horizon).after(_bets(1, 30))

        assert [ledger.bets for ledger in evidence.ledgers] == [30 // horizon] * horizon

    def test_evidence_is_the_mean_over_the_ledgers(self) -> None:
        evidence = Evidence.start(HOUR, 3).after(_bets(1, 30))

        parts = [np.exp(ledger.log_e) for ledger in evidence.ledgers]
        assert np.exp(evidence.log_e) == pytest.approx(np.mean(parts))
        assert Evidence.start(HOUR).after(_bets(1, 30)).log_e == Ledger().after(_bets(1, 30)).log_e


class TestRefusals:
    def test_a_gain_beyond_its_bound(self) -> None:
        with pytest.raises(BadInput, match="at most the bound"):
            Bet(T0, 2.0, 1.0)

    @pytest.mark.parametrize("alpha", [0, 1, -0.1])
    def test_a_level_that_is_none(self, alpha: float) -> None:
        with pytest.raises(BadInput, match="alpha"):
            Ledger().exceeds(alpha)

    def test_a_variance_that_is_none(self) -> None:
        with pytest.raises(BadInput, match="variance"):
            predictable_variance(np.zeros(3), 0)


def _paths(n: int, hours: int, skill: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gains and bounds of n pairs of forecasts; the challenger's noise is smaller by `skill`."""
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(5, (n, hours)) * np.sqrt(3 / 5) * 0.006
    champion = rng.normal(0, 0.07, (n, hours)) * 0.006
    challenger = champion * 0.6 + rng.normal(0, 0.07 * 0.8, (n, hours)) * 0.006
    challenger = challenger + skill * returns
    return gains(returns, champion, challenger, np.full((n, hours), 0.006**2))


def _log_e(gain: np.ndarray, bound: np.ndarray) -> np.ndarray:
    wealth = np.cumsum(log_growth(gain, bound, STAKES), axis=1)
    return np.logaddexp.reduce(wealth, axis=2) - np.log(len(STAKES))


@pytest.mark.rehearse
def test_under_the_null_wealth_is_a_martingale_and_crosses_no_oftener_than_alpha() -> None:
    paths = _log_e(*_paths(2000, 1500, 0.0))

    for at in (10, 100, 700):
        wealth = np.exp(paths[:, at])
        assert wealth.mean() <= 1 + 4 * wealth.std() / np.sqrt(len(wealth))
    assert (paths.max(axis=1) >= np.log(20)).mean() <= 0.05


def test_a_better_challenger_is_found_and_a_worse_one_never() -> None:
    better, worse = (_log_e(*_paths(200, 2000, skill)) for skill in (0.02, -0.02))

    assert (better.max(axis=1) >= np.log(20)).mean() > 0.95
    assert (worse.max(axis=1) >= np.log(20)).mean() == 0


@given(st.integers(0, 300), st.integers(1, 60))
def test_the_peak_is_the_highest_evidence_ever_and_survives_being_written_down(seed: int, n: int) -> None:
    states = [state for _, state in Evidence.start(HOUR, since=T0).walk(_bets(seed, n))]

    highest = max([0.0, *(state.log_e for state in states)])
    assert states[-1].peak == highest
    assert Evidence.from_json(json.loads(json.dumps(states[-1].to_json()))) == states[-1]


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 60))
def test_walking_in_portions_comes_to_the_last_bit_of_walking_at_once(seed: int, n: int, cut: int) -> None:
    bets = _bets(seed, n)

    assert Evidence.start(HOUR).after(bets[:cut]).after(bets) == Evidence.start(HOUR).after(bets)


class TestTheEstimateOfWhatIsStillNeeded:
    def test_is_about_right_at_a_steady_pace(self) -> None:
        rng = np.random.default_rng(3)
        gains_ = rng.normal(0.02, 0.1, 3000).clip(-0.4, 0.4)
        bets = [Bet(T0 + k * HOUR, float(d), 0.4) for k, d in enumerate(gains_)]
        reached = [state for _, state in Evidence.start(HOUR).walk(bets)]
        crossing = next(k for k, state in enumerate(reached) if state.log_e >= np.log(20))

        guess = reached[crossing // 2].candles_to_go(np.log(20))

        assert guess is not None
        assert crossing / 6 < guess < crossing * 3

    def test_is_none_without_hope_or_beyond_ten_years(self) -> None:
        losing = Evidence.start(HOUR).after([Bet(T0 + k * HOUR, -0.01, 0.3) for k in range(50)])
        barely = Evidence.start(HOUR).after(
            [Bet(T0 + k * HOUR, 0.3 if k % 2 else -0.2999999, 0.4) for k in range(50)]
        )

        assert losing.candles_to_go(np.log(20)) is None
        assert barely.candles_to_go(np.log(20)) is None


class TestVariance:
    def test_is_the_same_to_the_last_bit_however_much_history_there_is(self) -> None:
        rng = np.random.default_rng(0)
        closes = 100 * np.exp(np.cumsum(rng.standard_t(4, 1500) * 0.01))
        frame = pd.DataFrame({"close": closes}, index=pd.date_range(T0, periods=1500, freq="h"))

        whole = variance_after(frame)

        for start in (0, 1, 333, 1000):
            part = variance_after(frame.iloc[start:])
            assert (part.iloc[VARIANCE_MEMORY:] == whole.loc[part.index[VARIANCE_MEMORY:]]).all()

    def test_knows_nothing_of_later_candles(self) -> None:
        closes = np.exp(np.linspace(0, 1, 600) + 0.01 * np.sin(np.arange(600)))
        frame = pd.DataFrame({"close": closes}, index=pd.date_range(T0, periods=600, freq="h"))
        other = frame.copy()
        other.iloc[500:] *= 3

        assert (variance_after(frame).iloc[:500] == variance_after(other).iloc[:500]).all()

    def test_of_a_market_that_does_not_move_is_small_but_positive(self) -> None:
        frame = pd.DataFrame({"close": np.full(50, 7.0)}, index=pd.date_range(T0, periods=50, freq="h"))

        assert (variance_after(frame) > 0).all()
        with pytest.raises(BadInput, match="two candles"):
            variance_after(frame.iloc[:1])
