"""A small rehearsal of a week, with the same code: half a day in which clocks change, one kill of each kind."""

from datetime import UTC, datetime, timedelta

from analytics_assets_tests.rehearsals.plan import KILLS, clock_change_week
from analytics_assets_tests.rehearsals.week import rehearse


def test_half_a_day_with_everything_that_goes_wrong_ends_as_the_truth() -> None:
    # From the evening before clocks go forward in Europe.
    start = clock_change_week(datetime.now(UTC)) - timedelta(hours=6)
    before = timedelta(hours=12)
    result = rehearse(
        organizations=6,
        hours=12,
        step_hours=3,
        start=start,
        kills=KILLS,
        cells=1,
        is_forked=True,
        before=before,
        orders_per_day=8,
    )
    assert not result.differences[:5] and not result.wrong[:5] and not result.waiting[:5]
    assert set(result.kills) == set(KILLS), result.kills
    assert result.holds and result.restated and result.late_messages and result.faults.total() > 0
    assert min(result.compared.values()) > 30 and len(result.compared) == 5
    assert result.recounted["orders"] and result.recounted["cohort_analysis"] and result.recounted["funnel_analysis"]
