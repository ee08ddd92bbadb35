"""One weight budget for all processes of a machine: never a 429 of our own making."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.core.errors import RateLimited
from clm.exchange.clock import ExchangeClock
from clm.exchange.faults import FaultPlan
from clm.exchange.server import ExchangeServer
from clm.market.account import Account
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
from clm.market.ping import ping
from tests.support.answering import answering
from tests.support.exchange import NOW, serving, walk_market
from tests.support.waiting import LIMIT

#: A minute of theirs takes three seconds.
HASTE = 20
FETCH = f"""
import sys, time
from datetime import datetime
from pathlib import Path
from clm.market.account import Account
from clm.market.binance import BinanceDataClient
from clm.market.pace import Pace
url, folder, account, start, end = sys.argv[1:]
pace = Pace(
    weight_budget=60, account=Account(Path(account)),
    wall=lambda: {HASTE} * time.time(), sleep=lambda seconds: time.sleep(seconds / {HASTE}),
)
client = BinanceDataClient(base_url=url, data_dir=Path(folder), pace=pace)
print("ready", flush=True)
sys.stdin.readline()
print(len(client.load_training_data(datetime.fromisoformat(start), datetime.fromisoformat(end))))
"""


@pytest.mark.rehearse
def test_three_processes_that_fetch_at_once_are_never_told_to_slow_down(tmp_path: Path) -> None:
    """Their lanes together ask for more at once than a minute allows; none of them knows of the others."""
    market, candles = walk_market(20_000)
    start = candles.index[0].to_pydatetime()
    clock = ExchangeClock(NOW, speed=0)
    with ExchangeServer(
        market, clock, weight_limit=100, latency=0.05, wall=lambda: HASTE * time.time()
    ) as server:
        paths = [str(tmp_path / "weight.json"), start.isoformat(), NOW.isoformat()]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", FETCH, server.url, str(tmp_path / str(number)), *paths],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number in range(3)
        ]  # fmt: skip
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        fetched = [process.communicate(timeout=LIMIT)[0].split()[-1] for process in processes]

        asked = list(server.requests)
    assert fetched == [str(len(candles) - 1)] * 3
    assert {seen.status for seen in asked} == {200}
    assert 2 * len(asked) > 100


@settings(max_examples=60, deadline=None)
@given(
    asks=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20), st.integers(0, 1)), min_size=5, max_size=60)
)
def test_no_sixty_seconds_hold_more_than_the_budget_whoever_books(
    tmp_path_factory: pytest.TempPathFactory, asks: list[tuple[float, int, int]]
) -> None:
    accounts = [Account(tmp_path_factory.getbasetemp() / "shared.json") for _ in range(2)]
    accounts[0].close("made new", 0, 50)
    (tmp_path_factory.getbasetemp() / "shared.json").write_text("{}")
    now, booked = 1e9, []
    for pause, weight, who in asks:
        now += pause
        while (wait := accounts[who].book("exchange", weight, 50, now)) > 0:
            now += wait
        booked.append((now, weight))

    times, weights = (np.array(each) for each in zip(*booked, strict=True))
    for at in times:
        assert weights[(times >= at) & (times < at + 60)].sum() <= 50


def test_it_is_worth_another_try_as_soon_as_enough_is_free_and_not_before(tmp_path: Path) -> None:
    account = Account(tmp_path / "weight.json")
    assert account.book("exchange", 40, 50, 1000.0) == 0
    assert account.book("exchange", 10, 50, 1030.0) == 0

    assert account.book("exchange", 5, 50, 1031.0) == pytest.approx(29.25)
    assert account.book("exchange", 45, 50, 1031.0) == pytest.approx(59.25)
    assert account.book("another exchange", 45, 50, 1031.0) == 0
    assert account.book("exchange", 5, 50, 1060.25) == 0


def test_a_larger_budget_has_something_left_when_the_smaller_is_used_up_or_closed(tmp_path: Path) -> None:
    account = Account(tmp_path / "weight.json")
    assert account.book("exchange", 50, 50, 1000.0) == 0
    account.close("exchange", 1020.0, 50)

    assert account.book("exchange", 2, 50, 1001.0) > 0
    assert account.book("exchange", 2, 55, 1001.0) == 0
    account.close("exchange", 1020.0, 55)
    assert account.book("exchange", 2, 55, 1002.0) == pytest.approx(18.0)


def test_what_is_booked_and_how_long_to_hold_still_is_told_and_nothing_is_booked_by_it(
    tmp_path: Path,
) -> None:
    account = Account(tmp_path / "weight.json")
    account.book("exchange", 30, 100, 1000.0)
    account.book("exchange", 20, 100, 1030.0)

    assert account.standing("exchange", 1040.0) == (50, 0.0)
    assert account.standing("exchange", 1065.0) == (20, 0.0)
    assert account.standing("another", 1040.0) == (0, 0.0)
    account.close("exchange", 1080.0, 100)
    assert account.standing("exchange", 1065.0) == (20, 15.0)
    assert account.standing("exchange", 1085.0) == (20, 0.0)


def test_who_was_killed_while_booking_holds_nobody_up(tmp_path: Path) -> None:
    command = (
        "import sys, time; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    (tmp_path / "weight.json").write_text(json.dumps({"exchange": {"booked": [[1000.0, 30]]}}))
    with subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path / "weight.lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        holder.kill()

    # What it had booked counts.
    assert Account(tmp_path / "weight.json").book("exchange", 30, 50, 1010.0) == pytest.approx(50.25)


def test_a_clock_that_was_set_back_and_a_file_that_holds_anything_else_stop_nobody(tmp_path: Path) -> None:
    account = Account(tmp_path / "weight.json")
    account.book("exchange", 50, 50, 5000.0)
    account.close("exchange", 5060.0, 50)

    assert account.book("exchange", 50, 50, 1000.0) == 0
    (tmp_path / "weight.json").write_text("{cut off")
    assert account.book("exchange", 50, 50, 1001.0) == 0


def test_where_the_file_cannot_be_written_a_process_counts_for_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder is wanted")
    account = Account(tmp_path / "file" / "weight.json")

    assert account.book("exchange", 50, 50, 1000.0) == 0
    assert account.book("exchange", 1, 50, 1001.0) == pytest.approx(59.25)


def test_a_lock_that_is_never_given_back_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with FileLock(tmp_path / "weight.lock"):
        account = Account(tmp_path / "weight.json")
        began = time.monotonic()

        assert account.book("exchange", 50, 50, 1000.0) == 0

    # It is given back only afterwards: without an end of its own the wait would not have ended.
    assert timedelta(seconds=time.monotonic() - began) < timedelta(seconds=LIMIT)


class TestAClosure:
    """What the exchange asks of an address holds for everybody who asks from it, and for all they ask."""

    def test_is_kept_by_every_process_and_every_budget_until_its_end(self, tmp_path: Path) -> None:
        one, other = (Account(tmp_path / "weight.json") for _ in range(2))
        one.shut("exchange", 600, "banned for 600 s", 1000.0)

        assert other.book("exchange", 1, 5800, 1001.0) == pytest.approx(599)
        assert other.closure("exchange", 1100.0) == (pytest.approx(500), "banned for 600 s")
        assert other.standing("exchange", 1100.0) == (0, pytest.approx(500))
        assert other.book("another", 1, 50, 1001.0) == 0
        assert other.book("exchange", 1, 5800, 1600.0) == 0
        assert other.closure("exchange", 1600.0) == (0, "")

    def test_of_two_the_longer_stands_and_none_is_longer_than_three_days(self, tmp_path: Path) -> None:
        account = Account(tmp_path / "weight.json")
        account.shut("exchange", 600, "long", 1000.0)
        account.shut("exchange", 5, "short", 1001.0)
        assert account.closure("exchange", 1002.0) == (pytest.approx(598), "long")

        account.shut("exchange", 1e12, "for ever", 1003.0)

        assert account.closure("exchange", 1003.0) == (3 * 86_400, "for ever")

    def test_is_void_where_the_clock_was_set_back_behind_it(self, tmp_path: Path) -> None:
        account = Account(tmp_path / "weight.json")
        account.shut("exchange", 3 * 86_400, "banned", 5000.0)

        assert account.book("exchange", 1, 50, 4000.0) == 0
        assert account.book("exchange", 1, 50, 5001.0) > 0

    @pytest.mark.parametrize("nonsense", [[], [1], "shut", None, [1, 2, 3, 4]])
    def test_that_is_none_stops_nobody(self, tmp_path: Path, nonsense: object) -> None:
        (tmp_path / "weight.json").write_text(json.dumps({"exchange": {"shut": nonsense}}))

        assert Account(tmp_path / "weight.json").book("exchange", 1, 50, 1000.0) == 0

    @pytest.mark.parametrize("fault", ["418", "429"])
    def test_that_one_call_was_told_of_keeps_all_others_from_asking(self, tmp_path: Path, fault: str) -> None:
        def pace() -> Pace:
            return Pace(account=Account(tmp_path / "weight.json"), longest_wait=1, first_wait=0.001)

        with serving(walk_market(100)[0]) as server:
            server.set_faults(FaultPlan.parse(fault, retry_after=600))
            with pytest.raises(RateLimited):
                BinanceDataClient(base_url=server.url, data_dir=tmp_path, pace=pace()).load_recent_data(1)
            asked = len(server.requests)
            server.set_faults("")

            for ask in (
                lambda: ping(server.url, 1, pace()),
                lambda: BinanceDataClient(base_url=server.url, data_dir=tmp_path, pace=pace()).server_time(),
            ):
                with pytest.raises(RateLimited, match=r"nobody here asks before .* UTC") as told:
                    ask()
                assert 500 < (told.value.retry_after or 0) <= 600
            assert len(server.requests) == asked

    def test_told_to_a_ping_is_one_too(self, tmp_path: Path) -> None:
        pace = Pace(account=Account(tmp_path / "weight.json"))
        with answering(418, "", {"Retry-After": "60"}) as (url, asked):
            for _ in range(3):
                with pytest.raises(RateLimited):
                    ping(url, 1, pace)

        assert len(asked) == 1
