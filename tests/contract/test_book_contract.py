"""What every evidence book promises, in SQL or in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from clm.core.book import Appended, EvidenceRow, Kind, LedgerKey, Revision, Source, Trial
from clm.core.errors import EvidenceMoved
from clm.core.paired import Paired
from clm.core.pooled_bets import Stood, joining
from clm.core.stores import EvidenceBook
from clm.registry.sql import SQLModelRegistry
from tests.support.bets import HOUR, KEY, RIDGE, forecast, rows
from tests.support.databases import database_of, sqlite_in
from tests.support.parts import DictBook
from tests.support.versions import BTC, ETH, T0, candidate


@pytest.fixture(params=["sqlite", "postgresql", "third party"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EvidenceBook, EvidenceBook]]:
    """Of BTC and of ETH, kept together."""
    with ExitStack() as stack:
        if request.param == "third party":
            book = DictBook(BTC)
            yield book, DictBook(ETH, book._pooled)
            return
        url = stack.enter_context(database_of(request.param, tmp_path))
        registry = stack.enter_context(SQLModelRegistry(url, tmp_path / "models", series=BTC))
        yield registry.book, registry.for_series(ETH).book


@pytest.fixture
def book(books: tuple[EvidenceBook, EvidenceBook]) -> EvidenceBook:
    return books[0]


def test_it_is_one(book: EvidenceBook) -> None:
    assert isinstance(book, EvidenceBook)


def test_at_first_there_is_nothing(book: EvidenceBook) -> None:
    assert book.forecasts(RIDGE, "v1") == []
    assert book.newest_forecast(RIDGE, "v1") is None
    assert book.evidence(KEY) == []
    assert book.newest_evidence(KEY) is None
    assert book.ledgers(RIDGE, "v1", T0) == []
    assert book.trials() == []
    assert book.revisions() == 0


def test_forecasts_come_back_to_the_last_bit_oldest_first(book: EvidenceBook) -> None:
    made = [forecast(2, 0.1), forecast(0, 1 / 3), forecast(1, -1e-17)]

    assert book.record_forecasts(made) == 3

    assert book.forecasts(RIDGE, "v1") == sorted(made, key=lambda f: f.open_time)
    assert book.forecasts(RIDGE, "v1", since=T0 + 2 * HOUR) == [made[0]]
    assert book.forecast_times(RIDGE, "v1", T0 + HOUR) == [T0 + HOUR, T0 + 2 * HOUR]
    assert book.newest_forecast(RIDGE, "v1") == T0 + 2 * HOUR


def test_two_versions_are_paired_where_both_forecast_in_time_and_the_outcome_is_known(
    book: EvidenceBook,
) -> None:
    ours = [forecast(hour, 0.001 * hour) for hour in range(8)]
    theirs = [forecast(hour, -0.001 * hour, "v2") for hour in range(2, 9)]
    ours[5], theirs[2] = replace(ours[5], source=Source.LATE), replace(theirs[2], source=Source.LATE)
    theirs[1] = replace(theirs[1], source=Source.HOLDOUT)
    book.record_forecasts([*ours, *theirs])
    assert len(book.paired(RIDGE, "v1", "v2", T0)) == 0
    book.score(RIDGE, {T0 + hour * HOUR: 0.1 * hour for hour in range(7)}, T0 + 9 * HOUR)

    for since, hours in ((T0, (2, 3, 6)), (T0 + 3 * HOUR, (3, 6))):
        paired = book.paired(RIDGE, "v1", "v2", since)

        assert paired.times == tuple(T0 + hour * HOUR for hour in hours)
        assert paired.actual.tolist() == [0.1 * hour for hour in hours]
        assert paired.champion.tolist() == [0.001 * hour for hour in hours]
        assert paired.challenger.tolist() == [-0.001 * hour for hour in hours]
        assert paired.shadow.tolist() == [hour != 3 for hour in hours]
        again = Paired.of(book.forecasts(RIDGE, "v1", since=since), book.forecasts(RIDGE, "v2"))
        assert again.variance.tolist() == paired.variance.tolist()
        assert again.times == paired.times


def test_the_first_forecast_of_a_candle_stands(book: EvidenceBook) -> None:
    book.record_forecasts([forecast(0, 0.001)])

    assert book.record_forecasts([forecast(0, 0.9), forecast(1, 0.002)]) == 1

    assert [f.forecast for f in book.forecasts(RIDGE, "v1")] == [0.001, 0.002]


def test_forecasts_are_told_by_source_and_counted_between_two_moments(book: EvidenceBook) -> None:
    of_holdout = replace(forecast(3), source=Source.HOLDOUT)
    book.record_forecasts([forecast(0), forecast(1), of_holdout, forecast(2, version="v2")])

    assert book.forecasts(RIDGE, "v1", sources=(Source.HOLDOUT, Source.LATE)) == [of_holdout]
    assert book.forecasts(RIDGE, "v1", sources=()) == []
    assert book.count_forecasts(RIDGE, "v1", T0, T0 + 3 * HOUR) == 2
    assert book.count_forecasts(RIDGE, "v1", T0 - HOUR, T0) == 1
    assert book.count_forecasts(RIDGE, "v1", T0 + 3 * HOUR, T0 + 9 * HOUR) == 0


def test_a_score_stands_and_a_revision_is_kept_beside_it(book: EvidenceBook) -> None:
    book.record_forecasts([forecast(0), forecast(1), forecast(0, version="v2")])

    assert book.score(RIDGE, {T0: 0.01}, T0 + 2 * HOUR) == (2, 0)
    assert book.score(RIDGE, {T0: 0.01}, T0 + 3 * HOUR) == (0, 0)
    assert book.score(RIDGE, {T0: 0.02}, T0 + 4 * HOUR) == (0, 2)
    assert book.score(RIDGE, {T0: 0.02}, T0 + 5 * HOUR) == (0, 0)

    first, second = book.forecasts(RIDGE, "v1")
    assert (first.actual, first.scored_at, first.revised) == (0.01, T0 + 2 * HOUR, 0.02)
    assert second.actual is None
    assert book.revisions() == 1
    assert book.revised(T0, 10) == [Revision(open_time=T0, before=0.01, after=0.02)]
    assert book.revised(T0 + HOUR, 10) == []


def test_evidence_comes_back_to_the_last_bit(book: EvidenceBook) -> None:
    made = rows(4)
    book.append_evidence(KEY, made[:2], None)
    book.append_evidence(KEY, made[2:], made[1].open_time)

    assert book.evidence(KEY) == made
    assert book.evidence(KEY, until=made[1].open_time) == made[:2]
    assert book.newest_evidence(KEY) == made[-1].state
    assert book.ledgers(RIDGE, "v1", T0) == [KEY]


def test_who_joins_is_told_what_has_been_bet_with_its_recipe_and_what_it_had_in_it_itself(
    books: tuple[EvidenceBook, EvidenceBook],
) -> None:
    book, other = books
    made = rows(4)
    book.append_evidence(KEY, made, None)
    told: list[Mapping[datetime, Stood]] = []
    kinds = (KEY, replace(KEY, kind=Kind.GUARD), replace(KEY, recipe_id="another"))

    def joined(stood: Mapping[datetime, Stood], key: LedgerKey) -> list[EvidenceRow]:
        told.append(stood)
        new = [replace(row, key=key) for row in rows(4)[2:]]
        return [replace(r, pool=joining(stood.get(r.open_time), "ETHUSDT", r.bet)) for r in new]

    for key in kinds:
        other.append_joining(key, partial(joined, key=key), T0 + 2 * HOUR, None)
    later = replace(KEY, reign=T0 + 5 * HOUR)
    book.append_joining(later, partial(joined, key=later), T0 + 3 * HOUR, None)

    assert told == [
        {row.open_time: Stood(row.pool) for row in made[2:] if row.pool}, {}, {},
        {
            row.open_time: Stood(row.pool, (made[3].gain, made[3].bound))
            for row in other.evidence(KEY)[1:] if row.pool
        },
    ]  # fmt: skip
    (pool,) = [row.pool for row in other.evidence(KEY)[1:]]
    assert pool is not None
    assert pool.before is not None
    assert pool.total.count == 3
    assert pool.total.first == (made[3].pool and made[3].pool.sha256)
    assert [row.pool and row.pool.before for row in other.evidence(kinds[1])] == [None, None]


def test_who_joins_a_ledger_that_went_on_meanwhile_is_refused(book: EvidenceBook) -> None:
    made = rows(4)
    book.append_evidence(KEY, made[:2], None)

    with pytest.raises(EvidenceMoved):
        book.append_joining(KEY, lambda _: made[2:], T0, made[0].open_time)

    assert book.evidence(KEY) == made[:2]


def test_a_ledger_that_went_on_meanwhile_refuses_and_keeps_what_it_has(book: EvidenceBook) -> None:
    made = rows(4)
    book.append_evidence(KEY, made[:2], None)

    for after in (None, made[0].open_time):
        with pytest.raises(EvidenceMoved):
            book.append_evidence(KEY, made[1:], after)

    assert book.evidence(KEY) == made[:2]


def test_ledgers_that_keep_step_go_on_together_or_not_at_all(book: EvidenceBook) -> None:
    made, other = rows(4), replace(KEY, champion_version="v2", recipe_id="other way round")
    theirs = rows(4, other)
    book.append_together([Appended(KEY, made[:2], None), Appended(other, theirs[:2], None)])

    with pytest.raises(EvidenceMoved):
        book.append_together([Appended(KEY, made[2:], made[1].open_time), Appended(other, theirs[2:], None)])

    assert (book.evidence(KEY), book.evidence(other)) == (made[:2], theirs[:2])
    book.append_together([Appended(k, r[2:], r[1].open_time) for k, r in ((KEY, made), (other, theirs))])
    assert (book.evidence(KEY), book.evidence(other)) == (made, theirs)


def test_ledgers_of_other_reigns_and_kinds_are_others(book: EvidenceBook) -> None:
    guard = replace(KEY, kind=Kind.GUARD, recipe_id="v0")
    later = replace(KEY, reign=T0 + 5 * HOUR)
    for key in (KEY, guard, later):
        book.append_evidence(key, rows(3 if key == later else 2, key), None)

    assert book.ledgers(RIDGE, "v1", T0) == [KEY, guard]
    assert book.closing_evidence(RIDGE, "v1", "ours", T0 + 6 * HOUR) == rows(3, later)[-1].state
    assert book.closing_evidence(RIDGE, "v1", "ours", T0) is None


def test_trials_are_kept_newest_first(book: EvidenceBook) -> None:
    made = [
        Trial(
            model_type=RIDGE, version=version, recipe_id="ours", began_at=T0, outcome=outcome, reason="why",
            seconds=1.5, trigger="Never trained", details={"label": "first"},
        )
        for version, outcome in (("v1", "promoted"), (None, "failed"))
    ]  # fmt: skip
    for trial in made:
        book.record_trial(trial)

    assert book.trials(RIDGE) == made[::-1]
    assert book.trials("xgboost") == []
    assert book.trials(limit=1) == made[1:]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE clm_evidence SET gain = 1", "DELETE FROM clm_evidence", "UPDATE clm_trials SET seconds = 0",
        "DELETE FROM clm_trials", "UPDATE clm_pooled_bets SET members_json = NULL",
        "DELETE FROM clm_pooled_bets", "DELETE FROM clm_forecasts", "UPDATE clm_forecasts SET forecast = 1",
        "UPDATE clm_forecasts SET actual = 1", "DELETE FROM clm_decisions",
    ],
)  # fmt: skip
def test_the_database_itself_lets_nothing_be_rewritten(database: str, statement: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(database_of(database, tmp_path))
        registry = stack.enter_context(SQLModelRegistry(url, tmp_path / "models", series=BTC))
        book = registry.book
        book.record_forecasts([forecast(0)])
        book.score(RIDGE, {T0: 0.01}, T0 + HOUR)
        book.append_evidence(KEY, rows(1), None)
        trial = Trial(
            model_type=RIDGE, version=None, recipe_id=None, began_at=T0, outcome="failed", reason="",
            seconds=1,
        )  # fmt: skip
        book.record_trial(trial)
        registry.promote(RIDGE, registry.save_model(candidate()).version)

        with pytest.raises(sa.exc.DBAPIError), registry.database.engine.begin() as connection:
            connection.execute(sa.text(statement))


def test_series_keep_books_of_their_own(tmp_path: Path) -> None:
    with SQLModelRegistry(sqlite_in(tmp_path), tmp_path / "models", series=BTC) as registry:
        registry.book.record_forecasts([forecast(0)])

        assert registry.for_series(ETH).book.forecasts(RIDGE, "v1") == []


def test_scores_of_long_ago_stand_as_they_are_and_what_was_never_scored_is(book: EvidenceBook) -> None:
    book.record_forecasts([forecast(0), forecast(1), forecast(2000)])
    book.score(RIDGE, {T0: 0.01}, T0 + 2 * HOUR)

    found = book.score(RIDGE, {T0: 0.02, T0 + HOUR: 0.03, T0 + 2000 * HOUR: 0.04}, T0 + 2001 * HOUR)

    assert found == (2, 0)
    assert [(f.actual, f.revised) for f in book.forecasts(RIDGE, "v1")] == [
        (0.01, None), (0.03, None), (0.04, None),
    ]  # fmt: skip
