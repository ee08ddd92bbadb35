"""CLM_SCHEDULE means what a crontab means: a table of what comes next, and a second reader beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from clm.core.cron import Cron
from clm.core.errors import InvalidSetting
from clm.settings import Settings

#: A Sunday, the 2nd of June.
SUNDAY = datetime(2024, 6, 2, tzinfo=UTC)


def _coming(expression: str, many: int, after: datetime = SUNDAY) -> list[str]:
    cron, found = Cron.parse(expression), []
    for _ in range(many):
        slot = cron.next(after)
        assert slot is not None
        assert cron.newest(slot + timedelta(seconds=59)) == slot
        found.append(f"{slot:%a %d %b %Y %H:%M}")
        after = slot + timedelta(minutes=1)
    return found


#: By calendar, from Sunday 2 June 2024 on.
TABLE: dict[str, list[str]] = {
    "0 2 * * *": ["Sun 02 Jun 2024 02:00", "Mon 03 Jun 2024 02:00"],
    # Both days given: either will do.
    "0 2 1 * 1": ["Mon 03 Jun 2024 02:00", "Mon 10 Jun 2024 02:00", "Mon 17 Jun 2024 02:00",
                  "Mon 24 Jun 2024 02:00", "Mon 01 Jul 2024 02:00", "Mon 08 Jul 2024 02:00"],
    "0 0 13 * fri": ["Fri 07 Jun 2024 00:00", "Thu 13 Jun 2024 00:00", "Fri 14 Jun 2024 00:00"],
    "0 0 1,15 * 3": ["Wed 05 Jun 2024 00:00", "Wed 12 Jun 2024 00:00", "Sat 15 Jun 2024 00:00"],
    # One of them begins with a star: both must hold.
    "0 0 */2 * 1": ["Mon 03 Jun 2024 00:00", "Mon 17 Jun 2024 00:00", "Mon 01 Jul 2024 00:00"],
    "0 0 1-7 * */7": ["Sun 02 Jun 2024 00:00", "Sun 07 Jul 2024 00:00"],
    "0 0 13 * *": ["Thu 13 Jun 2024 00:00", "Sat 13 Jul 2024 00:00"],
    # Weekdays count from Sunday, 0 and 7.
    "0 0 * * */2": ["Sun 02 Jun 2024 00:00", "Tue 04 Jun 2024 00:00", "Thu 06 Jun 2024 00:00",
                    "Sat 08 Jun 2024 00:00", "Sun 09 Jun 2024 00:00"],
    "0 0 * * */3": ["Sun 02 Jun 2024 00:00", "Wed 05 Jun 2024 00:00", "Sat 08 Jun 2024 00:00"],
    "0 0 * * 1-5/2": ["Mon 03 Jun 2024 00:00", "Wed 05 Jun 2024 00:00", "Fri 07 Jun 2024 00:00"],
    "0 0 * * 0-6": ["Sun 02 Jun 2024 00:00", "Mon 03 Jun 2024 00:00"],
    "0 0 * * 0-7": ["Sun 02 Jun 2024 00:00", "Mon 03 Jun 2024 00:00"],
    "0 0 * * 1-7": ["Sun 02 Jun 2024 00:00", "Mon 03 Jun 2024 00:00"],
    "0 0 * * 6-7": ["Sun 02 Jun 2024 00:00", "Sat 08 Jun 2024 00:00", "Sun 09 Jun 2024 00:00"],
    "0 0 * * 0": ["Sun 02 Jun 2024 00:00", "Sun 09 Jun 2024 00:00"],
    "0 0 * * 7": ["Sun 02 Jun 2024 00:00", "Sun 09 Jun 2024 00:00"],
    "0 0 * * sun": ["Sun 02 Jun 2024 00:00", "Sun 09 Jun 2024 00:00"],
    "0 0 * * Mon-FRI": ["Mon 03 Jun 2024 00:00", "Tue 04 Jun 2024 00:00"],
    "0 0 * * fri-sun": ["Sun 02 Jun 2024 00:00", "Fri 07 Jun 2024 00:00", "Sat 08 Jun 2024 00:00"],
    "0 0 * * sat,1": ["Mon 03 Jun 2024 00:00", "Sat 08 Jun 2024 00:00", "Mon 10 Jun 2024 00:00"],
    # Steps begin anew with each hour, day, month.
    "*/25 * * * *": ["Sun 02 Jun 2024 00:00", "Sun 02 Jun 2024 00:25", "Sun 02 Jun 2024 00:50",
                     "Sun 02 Jun 2024 01:00"],
    "*/90 * * * *": ["Sun 02 Jun 2024 00:00", "Sun 02 Jun 2024 01:00"],
    "5-59/15 * * * *": ["Sun 02 Jun 2024 00:05", "Sun 02 Jun 2024 00:20", "Sun 02 Jun 2024 00:35"],
    "0 0 */10 * *": ["Tue 11 Jun 2024 00:00", "Fri 21 Jun 2024 00:00", "Mon 01 Jul 2024 00:00"],
    "0 8-18/4 * jul 1-5": ["Mon 01 Jul 2024 08:00", "Mon 01 Jul 2024 12:00", "Mon 01 Jul 2024 16:00",
                           "Tue 02 Jul 2024 08:00"],
    "30 23 31 12 *": ["Tue 31 Dec 2024 23:30", "Wed 31 Dec 2025 23:30"],
    "0 0 31 * *": ["Wed 31 Jul 2024 00:00", "Sat 31 Aug 2024 00:00", "Thu 31 Oct 2024 00:00"],
    "0 0 29 2 *": ["Tue 29 Feb 2028 00:00", "Sun 29 Feb 2032 00:00"],
    "0 0 29 2 */7": ["Sun 29 Feb 2032 00:00", "Sun 29 Feb 2060 00:00"],
    "1,2,58 0 2 JUN *": ["Sun 02 Jun 2024 00:01", "Sun 02 Jun 2024 00:02", "Sun 02 Jun 2024 00:58",
                         "Mon 02 Jun 2025 00:01"],
}  # fmt: skip


@pytest.mark.parametrize("expression", TABLE)
def test_it_comes_when_a_crontab_says(expression: str) -> None:
    assert _coming(expression, len(TABLE[expression])) == TABLE[expression]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 2 * * 1#1", "weekday that cron knows, which '1#1' is not"),
        ("0 2 L * *", "'L'"),
        ("0 2 15W * *", "'15W'"),
        ("0 2 ? * *", "'?'"),
        ("0 2 * * 5L", "'5L'"),
        ("5/15 * * * *", "5-59/15 in place of '5/15'"),
        ("0 2 * * 8", "a weekday from 0 to 7 or sun-sat, which '8' is not"),
        ("0 2 * 0 *", "a month from 1 to 12 or jan-dec, which '0' is not"),
        ("0 24 * * *", "hour from 0 to 23, which '24' is not"),
        ("60 2 * * *", "minute from 0 to 59"),
        ("*/0 2 * * *", "'0' is not"),
        ("0 5-1 * * *", "which '5-1' does not"),
        ("0 2 30 2 *", "not one such as 30 February"),
        ("0 2 31 4,6,9,11 *", "not one such as 30 February"),
        ("0 2 1, * *", "'' is not"),
        ("0 2 -1 * *", "'-1'"),
        ("0 2 ٣ * *", "'٣'"),
        ("0 2 * * monday", "'monday'"),
        ("@reboot", "five cron fields"),
        ("0 2 * * * *", "five cron fields"),
    ],
)
def test_what_cron_does_not_know_is_refused_as_the_settings_are_read(expression: str, said: str) -> None:
    """Not given another meaning: `1#1` was every Monday once."""
    with pytest.raises(InvalidSetting) as caught:
        Settings.load(schedule=expression)

    assert caught.value.field == "CLM_SCHEDULE"
    assert said in str(caught.value)
    assert "0 2 * * *" in str(caught.value)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # It takes 0-0 for every day of the week.
    spans = (
        st.tuples(number, number).filter(lambda two: two[0] < two[1]).map(lambda two: f"{two[0]}-{two[1]}")
    )
    step = st.integers(2, max(2, high // 2))
    one = st.one_of(number.map(str), spans, st.builds("{}/{}".format, spans, step))
    return st.one_of(
        st.just("*"), step.map("*/{}".format), st.lists(one, min_size=1, max_size=3).map(",".join)
    )


@given(
    fields=st.tuples(_field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), _field(0, 6)),
    after=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
)
def test_another_reader_of_crontabs_says_the_same(fields: tuple[str, ...], after: datetime) -> None:
    expression = " ".join(fields)
    cron = Cron.parse(expression)
    ahead = croniter(expression, after, implement_cron_bug=True, max_years_between_matches=45)
    back = croniter(expression, after, implement_cron_bug=True, max_years_between_matches=45)

    assert cron.next(after + timedelta(microseconds=1)) == ahead.get_next(datetime)
    assert cron.newest(after - timedelta(microseconds=1)) == back.get_prev(datetime)
