"""What lines are drawn through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clm.dashboard.pictures import _broken

T0 = datetime(2024, 5, 1, tzinfo=UTC)


def test_no_line_is_drawn_over_candles_nobody_forecast() -> None:
    points = [((T0 + timedelta(hours=hour)).isoformat(), 0.5 * hour) for hour in (0, 1, 2, 30, 31)]

    drawn = _broken(points)

    assert [point for point in drawn if point[1] is not None] == points
    assert [point for point in drawn if point[1] is None] == [((T0 + timedelta(hours=3)).isoformat(), None)]
    assert _broken(points[:1]) == points[:1]
    assert _broken([]) == []
