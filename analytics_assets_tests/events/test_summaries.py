"""From events to hours and days: the metrics of channel events, of each organisation in its own hours and money."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics_assets.commands.data import _store_rates
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import Connection, add_organization, store
from analytics_assets_tests.woocommerce import daily, hourly, ledger

DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
AT = DAY + timedelta(hours=10)
MINUTE = timedelta(minutes=1)


def compute(connection: Connection, ids: Sequence[UUID], start: datetime = DAY, end: datetime = DAY + timedelta(days=1)) -> None:
    """Hours and days of a range through the SQL functions, as the assets call them."""
    for function in ("summarize_events", "aggregate_hourly_data"):
        connection.execute(f"select count(*) from public.{function}(%s, %s, %s)", (list(ids), start, end))
        connection.commit()
    connection.execute("select count(*) from public.aggregate_daily_data(%s, %s, %s)", (list(ids), start.date(), end.date()))
    connection.commit()


def shopping(organization: UUID, at: datetime, who: str = "u1", currency: str | None = "EUR") -> list[Message]:
    """A visit with a purchase and a refund."""
    names = [
        "Product Viewed",
        "Product Viewed",
        "Product Added",
        "Checkout Started",
        "Order Completed",
        "Order Refunded",
        "Clicked",
    ]
    values = {"Order Completed": 30.25, "Order Refunded": 10.10, "Product Added": 15.0}
    visit = [
        Message(f"{who}{at}{n}", at + n * MINUTE, organization, user=who, name=name, value=values.get(name), currency=currency)
        for n, name in enumerate(names)
    ]
    return [
        Message(f"{who}{at}p", at, organization, user=who, type="page", name="Page Viewed"),
        *visit,
        # Names that a page may have as well: only what a client tracks is a purchase.
        Message(f"{who}{at}s", at + MINUTE, organization, user=who, type="screen", name="Order Completed", value=99.0),
    ]


def test_every_metric_of_an_hour(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    store(connection, shopping(acme, AT) + shopping(acme, AT + timedelta(hours=2), currency=None))
    store(connection, [Message("x", AT + timedelta(hours=2, minutes=5), acme, anonymous="a9")])
    compute(connection, [acme])
    later = AT + timedelta(hours=2)
    assert {metric: hourly(connection, "acme", metric) for metric in (
        "sessions", "users_new", "page_views", "events", "item_views", "add_to_carts", "checkouts", "purchases", "purchase_revenue")
    } == {
        "sessions": {AT: 1, later: 2},
        "users_new": {AT: 1, later: 1},
        "page_views": {AT: 2, later: 2},
        "events": {AT: 9, later: 10},
        "item_views": {AT: 2, later: 2},
        "add_to_carts": {AT: 1, later: 1},
        "checkouts": {AT: 1, later: 1},
        "purchases": {AT: 1, later: 1},
        "purchase_revenue": {AT: Decimal("20.15"), later: Decimal("20.15")},
    }  # fmt: skip
    assert daily(connection, "acme", "users_active") == {DAY.date(): 2}
    assert daily(connection, "acme", "purchase_revenue") == {DAY.date(): Decimal("40.30")}
    assert daily(connection, "acme", "users_new") == {DAY.date(): 2}
    source = connection.execute("select source_type, source_name, time_zone, currency from data_sources").fetchall()
    assert source == [{"source_type": "events", "source_name": "events", "time_zone": "UTC", "currency": "EUR"}]


def test_a_rerun_writes_nothing(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    store(connection, shopping(acme, AT))
    compute(connection, [acme])
    tables = ("metric_observations", "visitor_days", "partition_ledger", "hourly_facts", "daily_facts")

    def versions() -> list[tuple[str, ...]]:
        found = []
        for table in tables:
            rows = connection.execute(f"select tableoid::text, ctid::text, xmin::text from {table}").fetchall()
            found += [(table, *row.values()) for row in rows]
        return sorted(found)

    before = versions()
    assert connection.execute(
        "select * from public.summarize_events(%s, %s, %s)", ([acme], DAY, DAY + timedelta(days=1))
    ).fetchall() == []  # fmt: skip
    compute(connection, [acme])
    assert versions() == before


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"])
def test_hours_and_days_are_the_organisations_own(connection: Connection, zone: str) -> None:
    acme = add_organization(connection, "acme", time_zone=zone)
    instants = [DAY + timedelta(minutes=7 + 40 * n) for n in range(36 * 3)]
    store(connection, [Message(f"m{n}", at, acme, user=f"u{n % 5}") for n, at in enumerate(instants)])
    compute(connection, [acme], DAY - timedelta(days=1), DAY + timedelta(days=5))
    local = [at.astimezone(ZoneInfo(zone)) for at in instants]
    expected = Counter(at.replace(minute=0).astimezone(UTC) for at in local)
    assert hourly(connection, "acme", "events") == expected
    days: dict[date, set[str]] = defaultdict(set)
    for n, at in enumerate(local):
        days[at.date()].add(f"u{n % 5}")
    found = {row["date"]: row["n"] for row in connection.execute("select date, count(*) as n from visitor_days group by 1")}
    assert found == {day: len(users) for day, users in days.items()}
    assert daily(connection, "acme", "events") == {
        day: count for day, count in Counter(at.date() for at in local).items() if (day in daily(connection, "acme", "events"))
    }
    assert len(daily(connection, "acme", "events")) >= 2


def test_hours_that_are_over_are_marked_and_no_others(connection: Connection) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt", time_zone="Asia/Kolkata")
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    store(connection, [Message("now", now, acme, user="u"), Message("late", hour - timedelta(hours=5), acme, user="u")])
    assert ledger(connection, "acme", "event_tracking") == {hour - timedelta(hours=5): ("stale", None)}
    # The half-hour zone's last bucket is over, its local hour may still run: marked, and computed again when that ends.
    store(connection, [Message("now", now, bolt, user="u")])
    local_start = now.astimezone(ZoneInfo("Asia/Kolkata")).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    marks = connection.execute(
        "select bucket, next_attempt_at from partition_ledger where organization_id = %s and asset = 'event_tracking'", (bolt,)
    ).fetchall()
    bucket = local_start.replace(minute=0)
    assert marks == ([] if bucket == hour else [{"bucket": bucket, "next_attempt_at": local_start + timedelta(hours=1)}])
    compute(connection, [acme, bolt], hour - timedelta(hours=6), hour)
    assert {status for status, _ in ledger(connection, "acme", "event_tracking").values()} == {"done"}
    connection.execute("delete from partition_ledger where asset in ('cohort_analysis', 'funnel_analysis')")
    # A late event: its hour is stale again, and what depends on it when that is computed.
    store(connection, [Message("later", hour - timedelta(hours=4), acme, user="v")])
    assert ledger(connection, "acme", "event_tracking")[hour - timedelta(hours=4)] == ("stale", None)
    assert ledger(connection, "acme", "hourly_aggregates")[hour - timedelta(hours=4)] == ("done", None)
    connection.execute("select count(*) from public.summarize_events(%s, %s, %s)", ([acme], hour - timedelta(hours=6), hour))
    connection.commit()
    assert ledger(connection, "acme", "hourly_aggregates")[hour - timedelta(hours=4)] == ("stale", None)
    day = (hour - timedelta(hours=4)).replace(hour=0)
    assert ledger(connection, "acme", "cohort_analysis") == {day: ("stale", None)}
    assert ledger(connection, "acme", "daily_aggregates")[day] == ("stale", None)


def test_funnels_are_marked_as_far_back_as_their_windows_reach(connection: Connection) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt")
    connection.execute(
        "insert into funnels (organization_id, funnel_name, window_seconds, unit, steps, is_active) values"
        " (%(a)s, 'short', 3600, 'session', %(steps)s, true), (%(a)s, 'long', 172800, 'user', %(steps)s, true),"
        " (%(a)s, 'gone', 864000, 'user', %(steps)s, false)",
        {"a": acme, "steps": '[{"event": "e"}]'},
    )
    connection.execute(
        "select private.mark_event_dependents(%s, %s)",
        ([acme, acme, bolt], [date(2026, 3, 5), date(2026, 3, 5), date(2026, 3, 9)]),
    )
    connection.commit()
    expected = [datetime(2026, 3, day, tzinfo=UTC) for day in (3, 4, 5)]
    assert list(ledger(connection, "acme", "funnel_analysis")) == expected
    assert ledger(connection, "bolt", "funnel_analysis") == {}
    assert list(ledger(connection, "acme", "cohort_analysis")) == expected[2:]
    assert list(ledger(connection, "bolt", "cohort_analysis")) == [datetime(2026, 3, 9, tzinfo=UTC)]


def test_a_purchase_without_a_rate_fails_its_hour_alone(connection: Connection) -> None:
    acme, bolt = add_organization(connection, "acme"), add_organization(connection, "bolt", currency="USD")
    for organization in (acme, bolt):
        store(
            connection, shopping(organization, AT, currency="USD") + shopping(organization, AT + timedelta(hours=1), "u2", None)
        )
    compute(connection, [acme, bolt])
    status, error = ledger(connection, "acme", "event_tracking")[AT]
    assert status == "failed" and error is not None
    assert f"is in USD, the organisation reports in EUR, and there is no exchange rate for {AT:%Y-%m-%d}" in error
    assert f"analytics rates add USD EUR {AT:%Y-%m-%d} RATE" in error
    assert ledger(connection, "acme", "hourly_aggregates")[AT] == ("failed", error)
    assert hourly(connection, "acme", "events") == {AT + timedelta(hours=1): 9}
    assert hourly(connection, "bolt", "purchase_revenue") == dict.fromkeys((AT, AT + timedelta(hours=1)), Decimal("20.15"))
    day = ledger(connection, "acme", "daily_aggregates")[DAY]
    assert day[0] == "failed" and "USD" in str(day[1])
    assert ledger(connection, "bolt", "daily_aggregates")[DAY] == ("done", None)

    # The rate comes: its hours are marked, and nothing else.
    _store_rates([("USD", "EUR", AT.date(), Decimal("0.5"))])
    assert ledger(connection, "acme", "event_tracking")[AT] == ("stale", None)
    assert ledger(connection, "bolt", "event_tracking")[AT] == ("done", None)
    compute(connection, [acme, bolt])
    assert hourly(connection, "acme", "purchase_revenue") == {AT: Decimal("10.075"), AT + timedelta(hours=1): Decimal("20.15")}
    assert ledger(connection, "acme", "daily_aggregates")[DAY] == ("done", None)
    # It is corrected: the hour follows.
    _store_rates([("USD", "EUR", AT.date(), Decimal("0.25"))])
    compute(connection, [acme, bolt])
    assert hourly(connection, "acme", "purchase_revenue")[AT] == Decimal("5.0375")


def test_an_identity_found_later_changes_users_and_days(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    store(connection, [
        Message("1", AT, acme, user="u1"),
        Message("2", AT + timedelta(hours=2), acme, anonymous="a1"),
        Message("3", AT + timedelta(days=1), acme, anonymous="a1"),
        Message("4", AT + timedelta(hours=2, minutes=10), acme, user="u1", type="page"),
    ])  # fmt: skip
    span = DAY, DAY + timedelta(days=2)
    compute(connection, [acme], *span)
    tomorrow = DAY.date() + timedelta(days=1)
    assert daily(connection, "acme", "users_active") == {DAY.date(): 2, tomorrow: 1}
    assert daily(connection, "acme", "users_new") == {DAY.date(): 2}
    assert hourly(connection, "acme", "sessions") == {AT: 1, AT + timedelta(hours=2): 2, AT + timedelta(days=1): 1}
    connection.execute("delete from partition_ledger where asset = 'cohort_analysis'")
    connection.commit()

    store(connection, [Message("5", AT + timedelta(days=1, minutes=5), acme, user="u1", anonymous="a1", type="identify")])
    assert list(ledger(connection, "acme", "cohort_analysis")) == [DAY, DAY + timedelta(days=1)]
    stale = {at for at, (status, _) in ledger(connection, "acme", "event_tracking").items() if status == "stale"}
    assert stale == {AT + timedelta(hours=2), AT + timedelta(days=1)}
    assert ledger(connection, "acme", "daily_aggregates")[DAY] == ("stale", None)
    compute(connection, [acme], *span)
    assert daily(connection, "acme", "users_active") == {DAY.date(): 1, tomorrow: 1}
    assert daily(connection, "acme", "users_new") == {DAY.date(): 1}
    assert hourly(connection, "acme", "sessions") == {AT: 1, AT + timedelta(hours=2): 1, AT + timedelta(days=1): 1}
    days = connection.execute("select date, visitor_id from visitor_days order by 1").fetchall()
    assert [tuple(row.values()) for row in days] == [(DAY.date(), "u1"), (tomorrow, "u1")]


def test_a_user_who_loses_its_first_event_is_new_when_its_second_came(connection: Connection) -> None:
    """An earlier identity takes u1's anonymous event away: the hour in which u1 is new moves forward, and that hour is marked."""
    acme = add_organization(connection, "acme")
    store(connection, [
        Message("own", AT + timedelta(hours=1), acme, user="u1", anonymous="a1"),
        Message("found", AT, acme, anonymous="a1"),
    ])  # fmt: skip
    compute(connection, [acme], AT, AT + timedelta(hours=2))
    assert hourly(connection, "acme", "users_new") == {AT: 1}
    store(connection, [Message("earlier", AT, acme, user="u2", anonymous="a1")])
    stale = {at for at, (status, _) in ledger(connection, "acme", "event_tracking").items() if status == "stale"}
    assert stale == {AT, AT + timedelta(hours=1)}
    compute(connection, [acme], AT, AT + timedelta(hours=2))
    assert hourly(connection, "acme", "users_new") == {AT: 1, AT + timedelta(hours=1): 1}


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(data=st.data())
def test_computed_at_every_step_or_once_the_sums_are_the_same(connection: Connection, data: st.DataObject) -> None:
    """Hours summed up after each batch, whatever its identities move, are those summed up at the end."""
    number = connection.execute("select count(*) as n from organizations").fetchall()[0]["n"]
    stepwise, once = (add_organization(connection, f"{name}{number}", "Asia/Kolkata") for name in ("step", "once"))
    drawn = [
        (
            data.draw(st.integers(0, 40)) * 20 * MINUTE,
            data.draw(st.sampled_from([None, "u1", "u2"])),
            data.draw(st.sampled_from(["a1", "a2"])),
            data.draw(st.sampled_from(["track", "page"])),
        )
        for _ in range(data.draw(st.integers(2, 8)))
    ]
    span = DAY - timedelta(days=1), DAY + timedelta(days=2)
    for n, (offset, user, anonymous, kind) in enumerate(drawn):
        for organization in (stepwise, once):
            store(connection, [Message(f"{n}", DAY + offset, organization, user=user, anonymous=anonymous, type=kind)])
        stale = connection.execute(
            "select min(bucket) as first, max(bucket) as last from partition_ledger"
            " where organization_id = %s and asset = 'event_tracking' and status = 'stale'",
            (stepwise,),
        ).fetchall()[0]
        # Only what is marked: a mark that is missing shows.
        connection.execute(
            "select count(*) from public.summarize_events(%s, %s, %s)",
            ([stepwise], stale["first"], stale["last"] + timedelta(hours=1)),
        )
        connection.commit()
    connection.execute("select count(*) from public.summarize_events(%s, %s, %s)", ([once], *span))

    def sums(organization: UUID) -> list[tuple[object, ...]]:
        found = connection.execute(
            "select metric_id, bucket_at::text, value from metric_observations where organization_id = %(o)s union all"
            " select 3, date::text, 1 from visitor_days where organization_id = %(o)s order by 1, 2",
            {"o": organization},
        ).fetchall()
        return [tuple(row.values()) for row in found]

    assert sums(stepwise) == sums(once)
    connection.commit()
