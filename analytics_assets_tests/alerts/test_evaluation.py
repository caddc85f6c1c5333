"""What fires, what clears, what late data corrects; in any order the same rows."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from analytics_assets.organizations import registry
from analytics_assets_tests.alerts.world import (
    DAY,
    EVENTS,
    HOUR,
    PURCHASES,
    SESSIONS,
    THIS_HOUR,
    TODAY,
    WOOCOMMERCE,
    add_rule,
    alerts,
    evaluate,
    put_days,
    put_hours,
    series,
)
from analytics_assets_tests.woocommerce import Connection, add_organization

START = TODAY - 2 * DAY


@pytest.fixture
def acme(connection: Connection) -> UUID:
    return add_organization(connection, "acme")


def _put_and_evaluate(connection: Connection, acme: UUID, *values: float | str | None) -> dict[str, int]:
    put_hours(connection, acme, series(START, *values))
    return evaluate(connection, [acme], START - DAY)


def test_an_alert_fires_when_confirmed_and_clears_inside_its_threshold(connection: Connection, acme: UUID) -> None:
    add_rule(connection)
    # 9 is beyond 10, and not by a fifth: two in a row are asked for. 10 and 10.4 are between the threshold and what clears.
    _put_and_evaluate(connection, acme, 20, 9, 20, 9, 9, 10, 10.4, 9, 10.5, 20)
    assert alerts(connection) == [("resolved", START + 4 * HOUR, START + 8 * HOUR, 9)]
    # A fifth beyond, at once.
    _put_and_evaluate(connection, acme, 20, 9, 20, 9, 9, 10, 10.4, 9, 10.5, 20, 7)
    assert alerts(connection)[1:] == [("active", START + 10 * HOUR, None, 7)]
    assert "few: orders of woocommerce were 7 in the hour of" in alerts(connection, acme, "message")[1][0]


def test_hours_without_a_row_are_zero_and_hours_that_are_not_computed_are_nothing(connection: Connection, acme: UUID) -> None:
    add_rule(connection)
    assert _put_and_evaluate(connection, acme, 20, None, None, 20)["alerts_opened"] == 0
    assert _put_and_evaluate(connection, acme, 20, 0, None, 20) == {
        "alerts_opened": 0,
        "alerts_resolved": 1,
        "alerts_withdrawn": 0,
    }
    assert alerts(connection) == [("resolved", START + HOUR, START + 3 * HOUR, 0)]
    # An hour that still runs (asked now: since this module was loaded one may have ended), and one that a live source has not been
    # synced since, say nothing.
    put_hours(connection, acme, {datetime.now(UTC).replace(minute=0, second=0, microsecond=0): 0})
    assert evaluate(connection, [acme], START)["alerts_opened"] == 0
    connection.execute(
        "insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency, last_sync_at, connection_config)"
        ' values (%s, \'woocommerce\', \'s\', \'UTC\', \'EUR\', %s, \'{"$secrets": {"$enc": "v1", "kid": "k", "ct": "gAAAAA"}}\')',
        (acme, START + 5 * HOUR),
    )
    put_hours(connection, acme, series(START + 4 * HOUR, 0, 0))
    evaluate(connection, [acme], START)
    assert alerts(connection)[1:] == [("active", START + 4 * HOUR, None, 0)]
    assert alerts(connection, acme, "message")[1][0].count("04:00") == 1


def test_late_data_moves_reopens_and_withdraws(connection: Connection, acme: UUID) -> None:
    add_rule(connection)
    told = ["webhook"]
    put_hours(connection, acme, series(START, 20, 2, 2, 20))
    assert evaluate(connection, [acme], START, told_by=told)["alerts_resolved"] == 1
    (first,) = alerts(connection, acme, "id")
    # The hour before turns out to be as bad, the one after too: the same alert.
    put_hours(connection, acme, series(START, 3, 2, 2, 4))
    assert evaluate(connection, [acme], START, told_by=told)["alerts_opened"] == 1
    assert alerts(connection, acme, "state, fired, cleared, id, transitions") == [("active", START, None, *first, 2)]
    # None of it was true.
    put_hours(connection, acme, series(START, 30, 20, 25, 40))
    assert evaluate(connection, [acme], START, told_by=told) == {"alerts_opened": 0, "alerts_resolved": 0, "alerts_withdrawn": 1}
    assert alerts(connection, acme, "state, fired, id, transitions") == [("withdrawn", START, *first, 3)]
    assert evaluate(connection, [acme], START, told_by=told)["alerts_withdrawn"] == 0
    # And then it was.
    put_hours(connection, acme, series(START, 1))
    evaluate(connection, [acme], START, told_by=told)
    assert alerts(connection, acme, "state, fired, cleared, id, transitions") == [("resolved", START, START + HOUR, *first, 4)]
    states = connection.execute("select transition, state from public.alert_notices order by transition").fetchall()
    assert [tuple(row.values()) for row in states] == [(2, "open"), (3, "withdrawn"), (4, "resolved")]


def test_a_stale_hour_keeps_its_alert_until_it_is_computed_anew(connection: Connection, acme: UUID) -> None:
    """What an hour has said stands while a late order waits to be summed: an alert that left and came back told everybody twice."""
    add_rule(connection)
    _put_and_evaluate(connection, acme, 20, 1, 2)
    connection.execute("select private.mark_stale('hourly_aggregates', array[%s], array[%s])", (acme, START + HOUR))
    connection.execute("select private.mark_alert_days(array[%s], array[%s], true)", (acme, START))
    assert sum(evaluate(connection, [acme], START).values()) == 0
    assert alerts(connection, acme, "state, transitions") == [("active", 1)]


def _model(values: list[float], confirm: int) -> list[tuple[int, int | None]]:
    """(index that fires, index that clears) below 10, written down step by step."""
    found: list[tuple[int, int | None]] = []
    in_a_row, since = 0, None
    for index, value in enumerate(values):
        in_a_row = in_a_row + 1 if value < 10 else 0
        if since is None and (value < 8 or (value < 10 and in_a_row >= confirm)):
            since = index
        elif since is not None and value >= 10.5:
            found.append((since, index))
            since = None
    return found + ([(since, None)] if since is not None else [])


@pytest.mark.parametrize("seed", range(4))
def test_in_whatever_order_days_are_computed_the_same_alerts_stand(connection: Connection, seed: int) -> None:
    """Random series of three organisations, hours that come in any order and are restated, against a model hour by hour."""
    chance = random.Random(seed)
    ids = [add_organization(connection, f"shop-{number}") for number in range(3)]
    days, wanted = 4, {}
    start = TODAY - days * DAY
    puts: list[tuple[UUID, dict[datetime, Any]]] = []
    for number, organization in enumerate(ids):
        confirm = number + 1
        add_rule(connection, f"shop-{number}", confirm=confirm)
        values = [chance.choice([5, 9, 9.5, 10, 10.4, 10.5, 12, 20]) for _ in range(24 * days)]
        wanted[organization] = [
            (start + fired * HOUR, None if cleared is None else start + cleared * HOUR)
            for fired, cleared in _model(values, confirm)
        ]
        truth = series(start, *values)
        for day in range(days):
            piece = {at: value for at, value in truth.items() if start + day * DAY <= at < start + (day + 1) * DAY}
            puts.append((organization, {at: chance.choice([value, 5, 20]) for at, value in piece.items()}))
            puts.append((organization, piece))
    first = [item for index, item in enumerate(puts) if index % 2 == 0]
    second = [item for index, item in enumerate(puts) if index % 2 == 1]
    chance.shuffle(first)
    chance.shuffle(second)
    for organization, piece in [*first, *second]:
        put_hours(connection, organization, piece)
        if chance.random() < 0.7:
            evaluate(connection, ids, start, start + chance.randrange(days) * DAY)
    evaluate(connection, ids, start)
    for organization in ids:
        standing = [row[1:3] for row in alerts(connection, organization) if row[0] != "withdrawn"]
        assert standing == wanted[organization]
        for (_, cleared), (fired, _) in pairwise(standing):
            assert cleared <= fired
    before = alerts(connection, None, "id, state, fired, cleared, value, transitions")
    connection.execute("update public.partition_ledger set status = 'stale' where asset = 'performance_alerts'")
    assert sum(evaluate(connection, ids, start).values()) == 0
    assert alerts(connection, None, "id, state, fired, cleared, value, transitions") == before


def test_no_flapping_on_a_series_that_hovers_at_the_threshold(connection: Connection, acme: UUID) -> None:
    add_rule(connection, confirm=1)
    chance = random.Random(7)
    _put_and_evaluate(connection, acme, *(round(chance.uniform(9.55, 10.45), 2) for _ in range(40)))
    assert len(alerts(connection)) == 1


def test_a_ratio_is_judged_by_its_parts_where_there_are_enough(connection: Connection, acme: UUID) -> None:
    add_rule(connection, metric="conversion_rate", channel="events", below="0.02", confirm=1)
    hours = series(START, 100, 10, 100, 100)
    put_hours(connection, acme, hours, SESSIONS, EVENTS)
    put_hours(connection, acme, series(START, 3, 0, 1, 0), PURCHASES, EVENTS)
    evaluate(connection, [acme], START)
    # The second hour has no purchase of ten sessions: chance.
    assert alerts(connection) == [("active", START + 2 * HOUR, None, 0)]


def test_a_ratio_over_all_channels(connection: Connection, acme: UUID) -> None:
    add_rule(connection, metric="mer", channel="all", grain="day", below="4", confirm=1)
    put_days(connection, acme, series(START, 1000, 300, step=DAY), 50, WOOCOMMERCE)
    put_days(connection, acme, series(START, 100, 100, step=DAY), 27, 2)
    evaluate(connection, [acme], START)
    assert alerts(connection) == [("active", START + DAY, None, 3)]


def test_a_change_is_against_the_same_local_hour_of_the_week_before_over_a_change_of_clocks(connection: Connection) -> None:
    """Clocks in Berlin went back on 25 October 2026 at 03:00: 09:00 on the 26th is 08:00 UTC, 09:00 on the 19th is 07:00 UTC."""
    registry.add(connection, "berlin", time_zone="Europe/Berlin")
    organization = registry.get(connection, "berlin").id
    add_rule(connection, "berlin", change="-30", confirm=1)
    zone = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 10, 19, 9, tzinfo=zone).astimezone(UTC)
    now = datetime(2026, 10, 26, 9, tzinfo=zone).astimezone(UTC)
    assert now - before == timedelta(days=7, hours=1)
    put_hours(connection, organization, {before: 100, before + HOUR: 50})
    put_hours(connection, organization, {now: 60, now + HOUR: 50})
    evaluate(connection, [organization], before.replace(hour=0), now.replace(hour=0))
    assert alerts(connection) == [("resolved", now, now + HOUR, -40)]
    assert "-40 % against the week before, limit -30 %" in alerts(connection, organization, "message")[0][0]


def test_half_hour_zones(connection: Connection) -> None:
    registry.add(connection, "kolkata", time_zone="Asia/Kolkata")
    organization = registry.get(connection, "kolkata").id
    add_rule(connection, "kolkata", confirm=1)
    put_hours(connection, organization, series(START + timedelta(minutes=30), 20, 3))
    evaluate(connection, [organization], START - DAY)
    assert alerts(connection) == [("active", START + HOUR, None, 3)]
    # Nothing is said of a local hour that is not over, though its UTC hour is.
    put_hours(connection, organization, {START + 2 * HOUR: 20, THIS_HOUR - timedelta(minutes=30): 0})
    evaluate(connection, [organization], START - DAY)
    is_over = THIS_HOUR - HOUR + timedelta(minutes=90) <= datetime.now(UTC)
    assert len(alerts(connection)) == 1 + is_over


def test_a_goal_is_judged_by_where_the_month_heads(connection: Connection, acme: UUID) -> None:
    """Weekends weigh nothing in this shop: a month that begins with one is not behind for it."""
    add_rule(connection, metric="total_sales", goal="2200", confirm=1)
    first = datetime(2026, 8, 1, tzinfo=UTC)  # a Saturday; August has 21 working days
    past = {first - number * DAY: 100 if (first - number * DAY).isoweekday() < 6 else 0 for number in range(1, 57)}

    def month(of_a_working_day: int, days: int) -> dict[datetime, float | str | None]:
        return {
            first + number * DAY: of_a_working_day if (first + number * DAY).isoweekday() < 6 else 0 for number in range(days)
        }

    put_days(connection, acme, past | month(110, 31), 50)
    evaluate(connection, [acme], first - DAY)
    assert alerts(connection) == []
    put_days(connection, acme, month(90, 9), 50)
    evaluate(connection, [acme], first)
    # Until the 7th it is too early; the 8th is a quarter of the month. 90 x 5 days of 21: heading for 1890.
    assert alerts(connection)[0][:2] == ("resolved" if alerts(connection)[0][2] else "active", first + 7 * DAY)
    assert "heading for" in alerts(connection, acme, "message")[0][0] and "of 2200" in alerts(connection, acme, "message")[0][0]
    # The next month begins anew.
    put_days(connection, acme, month(80, 31) | {first + 31 * DAY: 100}, 50)
    evaluate(connection, [acme], first)
    assert alerts(connection) == [("resolved", first + 7 * DAY, first + 31 * DAY, 80 * 21)]


def test_what_ended_before_a_rule_is_judged_is_not_its_matter(connection: Connection, acme: UUID) -> None:
    add_rule(connection, since=(START + DAY).date())
    _put_and_evaluate(connection, acme, *[1] * 23, 20, 20, 1)
    assert alerts(connection) == [("active", START + 25 * HOUR, None, 1)]


def test_a_rule_that_is_removed_or_switched_off_ends_its_alert(connection: Connection, acme: UUID) -> None:
    from analytics_assets.alerts import registry as rules

    add_rule(connection, name="one")
    add_rule(connection, name="two", below="11")
    put_hours(connection, acme, series(START, 20, 1))
    evaluate(connection, [acme], START, told_by=["slack"])
    assert alerts(connection, acme, "state, rule") == [("active", "one"), ("active", "two")]
    assert rules.remove(connection, "acme", "one") == 1 and rules.remove(connection, "acme", "one") is None
    connection.execute("update public.alert_rules set is_active = false")
    put_hours(connection, acme, series(START, 20))
    evaluate(connection, [acme], START)
    assert alerts(connection, acme, "state, rule") == [("resolved", "one"), ("resolved", "two")]
    states = connection.execute("select state, count(*) as n from public.alert_notices group by 1 order by 1").fetchall()
    assert [tuple(row.values()) for row in states] == [("open", 2), ("resolved", 2)]
    # Taken up again it judges from then on.
    connection.execute("update public.alert_rules set is_active = true")
    put_hours(connection, acme, series(START, 20, 1, 1))
    assert sum(evaluate(connection, [acme], START).values()) == 0
    assert Decimal(1) == alerts(connection, acme, "value")[0][0]


def test_hours_that_left_by_retention_withdraw_nothing(connection: Connection, acme: UUID) -> None:
    add_rule(connection)
    _put_and_evaluate(connection, acme, 20, 1, 20)
    before = alerts(connection)
    connection.execute("delete from public.hourly_facts")
    connection.execute("delete from public.partition_ledger where asset = 'hourly_aggregates'")
    connection.execute("update private.partition_steps set dropped_to = %s where parent = 'hourly_facts'", (START + DAY,))
    connection.execute("select private.mark_alert_days(array[%s], array[%s], true)", (acme, START))
    assert sum(evaluate(connection, [acme], START).values()) == 0
    assert alerts(connection) == before and before[0][0] == "resolved"
