"""Who reigns is followed whatever the exchange does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from clm.core.domain import Series
from clm.core.errors import ExchangeUnavailable
from clm.serving.desk import Desk
from clm.serving.follower import Follower
from clm.serving.snapshot import Snapshot
from tests.support.waiting import LIMIT, eventually

NOW = datetime(2024, 6, 1, 0, 30, tzinfo=UTC)
SERIES = Series("BTCUSDT", "1h")
NOTHING = Snapshot(series=SERIES, open_time=None, close=None, variance=None)


@dataclass
class Pretended:
    """A desk: `candles` come when they are let, `reign` is who reigns by what it last saw."""

    series: Series = SERIES
    candles: threading.Event = field(default_factory=threading.Event)
    snapshot: Snapshot = NOTHING
    seen: bool = False
    introduced: int = 0
    glanced: int = 0

    def look(self, now: datetime, *, fresh_candles: bool = True) -> Snapshot:
        if fresh_candles:
            self.candles.wait(LIMIT)
            self.seen = True
            self.snapshot = replace(self.snapshot, open_time=now.replace(minute=0, hour=23, day=31, month=5))
        else:
            self.glanced += 1
        self.snapshot = replace(self.snapshot, known=True)
        return self.snapshot

    def introduce(self) -> None:
        self.introduced += 1
        self.snapshot = replace(self.snapshot, known=True)


@contextmanager
def following(desk: Pretended, answering: dict[Series, Any], **more: Any) -> Iterator[Follower]:
    given = {"exchange_time": lambda: NOW, "silence": lambda: None, **more}
    desks = {desk.series: cast("Desk", desk)}
    follower = Follower(
        lambda: desks, given["exchange_time"], lambda: dict(answering), silence=given["silence"],
        poll_seconds=0.01,
    )  # fmt: skip
    try:
        yield follower
    finally:
        desk.candles.set()
        follower.close()


def test_the_first_question_waits_for_candles_of_an_exchange_that_answers() -> None:
    desk = Pretended()
    with following(desk, {SERIES: "v1"}) as follower:
        waiting = threading.Thread(target=follower.wait)
        waiting.start()
        eventually(lambda: desk.introduced, "who reigns")
        assert not follower.ready

        desk.candles.set()
        waiting.join(LIMIT)
        assert follower.snapshot(SERIES).open_time is not None
        assert follower.trouble is None


def test_it_waits_no_longer_than_it_takes_to_know_that_the_exchange_hangs() -> None:
    """By then it is known who reigns, and why there is no forecast."""
    desk, hanging = Pretended(), threading.Event()

    def exchange_time() -> datetime:
        hanging.wait(LIMIT)
        return NOW

    with following(
        desk, {SERIES: "v1"}, exchange_time=exchange_time, silence=lambda: "it did not answer within 1 second"
    ) as follower:
        assert follower.series == (SERIES,)
        assert follower.snapshot(SERIES).known
        assert not follower.ready
        assert follower.trouble == "it did not answer within 1 second"
        hanging.set()


def test_a_promotion_is_seen_while_the_exchange_hangs() -> None:
    desk, answering = Pretended(), {SERIES: "v1"}
    desk.candles.set()
    asked, hanging = threading.Semaphore(0), threading.Event()

    def exchange_time() -> datetime:
        if desk.seen:
            asked.release()
            hanging.wait(LIMIT)
        return NOW

    with following(desk, answering, exchange_time=exchange_time) as follower:
        follower.wait()
        assert asked.acquire(timeout=LIMIT)
        eventually(lambda: desk.glanced, "a look at who reigns")
        before = desk.glanced

        answering[SERIES] = "v2"
        eventually(lambda: desk.glanced > before, "a look at who reigns now")
        hanging.set()


def test_why_the_clock_is_not_heard_is_told_until_it_is() -> None:
    desk, answers = Pretended(), threading.Event()
    desk.candles.set()

    def exchange_time() -> datetime:
        if answers.is_set():
            return NOW
        raise ExchangeUnavailable("the exchange cannot be reached")

    with following(desk, {SERIES: "v1"}, exchange_time=exchange_time) as follower:
        follower.wait()
        assert (follower.trouble, follower.now()) == ("the exchange cannot be reached", None)


def test_it_ends_at_once_beside_an_exchange_that_hangs() -> None:
    desk = Pretended()
    with following(desk, {SERIES: "v1"}, silence=lambda: "it did not answer") as follower:
        follower.wait()
        follower.close()
        assert not desk.seen
