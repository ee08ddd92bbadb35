"""One look for many: who shares it, how long it lasts, and that what failed is not kept."""

from __future__ import annotations

import asyncio

import pytest

from clm.api.lookout import Lookout
from tests.support.loops import finished


class Thing:
    """Something to look at, and how often it was."""

    def __init__(self) -> None:
        self.looks = 0
        self.broken = False
        self.seconds = 0.0

    async def look(self) -> int:
        self.looks += 1
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise ConnectionError("away")
        return self.looks


def test_those_who_ask_at_once_share_a_look() -> None:
    async def ask() -> list[int]:
        lookout: Lookout[int] = Lookout(60)
        thing = Thing()
        return [*await asyncio.gather(*(lookout.see("it", thing.look) for _ in range(20))), thing.looks]

    assert finished(ask) == [1] * 21


def test_what_is_seen_lasts_as_long_as_whoever_asks_allows_and_no_longer_than_a_change() -> None:
    async def ask() -> list[int]:
        lookout: Lookout[int] = Lookout(0)
        thing = Thing()
        kept = [await lookout.see("it", thing.look, 60) for _ in range(2)]
        new = await lookout.see("it", thing.look)
        lookout.drop()
        return [*kept, new, await lookout.see("it", thing.look, 60)]

    assert finished(ask) == [1, 1, 2, 3]


def test_a_failure_is_told_to_all_who_waited_and_kept_for_no_longer_than_usual() -> None:
    async def ask() -> list[object]:
        lookout: Lookout[int] = Lookout(0)
        thing = Thing()
        thing.broken = True
        failed = await asyncio.gather(
            *(lookout.see("it", thing.look, 60) for _ in range(3)), return_exceptions=True
        )
        thing.broken = False
        return [*map(type, failed), await lookout.see("it", thing.look, 60)]

    assert finished(ask) == [ConnectionError] * 3 + [2]


def test_who_hangs_up_does_not_end_the_look_of_the_others() -> None:
    async def ask() -> int:
        lookout: Lookout[int] = Lookout(60)
        thing = Thing()
        thing.seconds = 0.05
        first = asyncio.ensure_future(lookout.see("it", thing.look))
        second = asyncio.ensure_future(lookout.see("it", thing.look))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert finished(ask) == 1
