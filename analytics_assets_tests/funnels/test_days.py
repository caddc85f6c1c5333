"""Which days are computed: until they are final, when they are marked, in which version; and what stays as it is."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import store
from analytics_assets_tests.funnels.model import Event, Funnel, add_events, add_funnel, compute, table
from analytics_assets_tests.woocommerce import Connection, add_organization

A, B = ({"name": name, "event": name} for name in "AB")
NOW = datetime.now(UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
LONG_AGO = datetime.combine(TODAY - 20 * DAY, datetime.min.time(), UTC) + timedelta(hours=12)


def _events(*parts: tuple[str, datetime], visitor: str = "v") -> list[Event]:
    return [Event(at, visitor, name=name) for name, at in parts]


def _rows(connection: Connection, organization: UUID) -> list[dict[str, Any]]:
    """Rows as they stand on the disk: xmin changes when a row is written, be it with the same values."""
    return connection.execute(
        "select *, xmin::text as written from funnel_analysis where organization_id = %s order by 1, 2, 3, 4", (organization,)
    ).fetchall()


def _ledger(connection: Connection, organization: UUID, day: date) -> dict[str, Any]:
    rows = connection.execute(
        "select status, row_count, computed_at, input_version, xmin::text as written from partition_ledger"
        " where organization_id = %s and asset = 'funnel_analysis' and bucket = %s",
        (organization, datetime.combine(day, datetime.min.time(), UTC)),
    ).fetchall()
    return rows[0] if rows else {}


def _open_days(connection: Connection, organization: UUID) -> list[date]:
    return [
        row["day"]
        for row in connection.execute(
            "select (bucket at time zone 'UTC')::date as day from partition_ledger"
            " where organization_id = %s and asset = 'funnel_analysis' and status <> 'done' order by 1",
            (organization,),
        )
    ]


def _sweep(connection: Connection) -> int:
    row = connection.execute("select private.mark_final_funnels(now() - interval '400 days', now()) as marked").fetchone()
    assert row is not None
    connection.commit()
    return int(row["marked"])


@pytest.fixture
def shop(connection: Connection) -> UUID:
    """An organisation with a funnel of a day's window and an entry twenty days ago that went on."""
    organization = add_organization(connection)
    add_funnel(connection, organization, Funnel([A, B]))
    add_events(connection, organization, _events(("A", LONG_AGO), ("B", LONG_AGO + MINUTE)))
    connection.commit()
    return organization


def test_a_final_day_is_left_alone_until_it_is_marked(connection: Connection, shop: UUID) -> None:
    day = LONG_AGO.date()
    assert compute(connection, [shop], day - DAY, day + DAY)["rows_written"] == 2
    connection.commit()
    rows, ledger = _rows(connection, shop), _ledger(connection, shop, day)
    assert [row["is_final"] for row in rows] == [True, True] and ledger["status"] == "done" and ledger["row_count"] == 2

    add_events(connection, shop, _events(("A", LONG_AGO), visitor="w"))
    assert compute(connection, [shop], day - DAY, day + DAY) == {"rows_written": 0, "rows_deleted": 0, "days": 0}
    connection.commit()
    assert _rows(connection, shop) == rows and _ledger(connection, shop, day) == ledger

    connection.execute("select private.mark_stale('funnel_analysis', array[%s], array[%s])", (shop, _midnight(day)))
    assert compute(connection, [shop], day - DAY, day + DAY) == {"rows_written": 1, "rows_deleted": 0, "days": 1}
    assert table(connection, shop) == {("f", day, 1): (2, 1), ("f", day, 2): (1, 1)}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def test_only_rows_that_differ_are_written(connection: Connection, shop: UUID) -> None:
    day = LONG_AGO.date()
    add_events(connection, shop, _events(("A", LONG_AGO + DAY)))
    compute(connection, [shop], day, day + DAY)
    connection.commit()
    before = _rows(connection, shop)
    add_events(connection, shop, _events(("A", LONG_AGO + DAY), ("B", LONG_AGO + DAY), visitor="w"))
    connection.execute(
        "select private.mark_stale('funnel_analysis', array[%s, %s], array[%s, %s])",
        (shop, shop, _midnight(day), _midnight(day + DAY)),
    )
    assert compute(connection, [shop], day, day + DAY) == {"rows_written": 2, "rows_deleted": 0, "days": 2}
    connection.commit()
    assert _rows(connection, shop)[:2] == before[:2]


def test_a_day_without_entries_any_more_loses_its_rows(connection: Connection, shop: UUID) -> None:
    day = LONG_AGO.date()
    compute(connection, [shop], day, day)
    connection.execute("delete from event_tracking where event_name = 'A'")
    connection.execute("select private.mark_stale('funnel_analysis', array[%s], array[%s])", (shop, _midnight(day)))
    assert compute(connection, [shop], day, day) == {"rows_written": 0, "rows_deleted": 2, "days": 1}
    assert _rows(connection, shop) == [] and _ledger(connection, shop, day)["row_count"] == 0


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kolkata"])
def test_an_open_day_is_computed_at_every_run(connection: Connection, zone: str) -> None:
    """Today's and, while the window lasts, yesterday's, in the organisation's days: without any mark."""
    organization = add_organization(connection, "local", zone)
    add_funnel(connection, organization, Funnel([A, B], timedelta(hours=30)))
    at = NOW - timedelta(minutes=5)
    local = at.astimezone(ZoneInfo(zone)).date()
    add_events(connection, organization, _events(("A", at)))
    compute(connection, [organization], local - DAY, local)
    connection.commit()
    assert [(row["date"], row["visitors"], row["is_final"]) for row in _rows(connection, organization)] == [
        (local, 1, False),
        (local, 0, False),
    ]
    ledger = _ledger(connection, organization, local)
    assert ledger["status"] == "done"
    assert compute(connection, [organization], local - DAY, local)["rows_written"] == 0
    connection.commit()
    assert _ledger(connection, organization, local) == ledger, "a run that finds nothing new writes nothing"

    add_events(connection, organization, _events(("B", at + MINUTE)))
    assert compute(connection, [organization], local - DAY, local)["rows_written"] == 2
    assert table(connection, organization)["f", local, 2] == (1, 1)


def test_a_day_becomes_final_although_no_event_comes_any_more(connection: Connection, shop: UUID) -> None:
    """Time passes: what had been computed while the window was open is marked once it is over, once."""
    day = LONG_AGO.date()
    compute(connection, [shop], day, day)
    assert _sweep(connection) == 0, "it is final already"
    connection.execute("update funnel_analysis set is_final = false")
    connection.execute("update partition_ledger set computed_at = %s where asset = 'funnel_analysis'", (LONG_AGO + 2 * MINUTE,))
    connection.execute("update funnels set window_seconds = 21 * 86400")
    assert _sweep(connection) == 0, "its window is open"
    connection.execute("update funnels set window_seconds = 86400")
    assert _sweep(connection) == 1 and _open_days(connection, shop) == [day]
    assert _sweep(connection) == 0
    assert compute(connection, [shop], day, day) == {"rows_written": 2, "rows_deleted": 0, "days": 1}
    connection.commit()
    assert all(row["is_final"] for row in _rows(connection, shop))
    assert _sweep(connection) == 0


def test_a_run_over_the_day_makes_it_final_without_any_mark(connection: Connection, shop: UUID) -> None:
    """A day without an entry, too: it is closed once, and not looked at again."""
    day = LONG_AGO.date()
    compute(connection, [shop], day, day + DAY)
    connection.execute("update funnel_analysis set is_final = false")
    connection.execute("update partition_ledger set computed_at = %s where asset = 'funnel_analysis'", (LONG_AGO + 2 * MINUTE,))
    assert compute(connection, [shop], day, day + DAY) == {"rows_written": 2, "rows_deleted": 0, "days": 2}
    assert compute(connection, [shop], day, day + DAY) == {"rows_written": 0, "rows_deleted": 0, "days": 0}


def test_a_funnel_that_changes_is_computed_anew_in_its_new_version(connection: Connection, shop: UUID) -> None:
    day = LONG_AGO.date()
    compute(connection, [shop], day, TODAY)
    assert _open_days(connection, shop) == []
    assert add_funnel(connection, shop, Funnel([A, B])) == {"version": 1, "change": "unchanged", "marked": 0, "first_day": None}
    changed = add_funnel(connection, shop, Funnel([B, A]))
    assert changed == {"version": 2, "change": "changed", "marked": (TODAY - day).days + 1, "first_day": day}
    assert _open_days(connection, shop) == [day + number * DAY for number in range((TODAY - day).days + 1)]
    compute(connection, [shop], day, TODAY)
    assert [(row["step_name"], row["visitors"], row["version"]) for row in _rows(connection, shop)] == [("B", 1, 2), ("A", 0, 2)]
    assert add_funnel(connection, shop, Funnel([B, A], timedelta(days=2)))["version"] == 3
    assert add_funnel(connection, shop, Funnel([B, A], timedelta(days=2), "user"))["version"] == 4


def test_a_removed_funnel_goes_and_comes_back(connection: Connection, shop: UUID) -> None:
    day = LONG_AGO.date()
    add_funnel(connection, shop, Funnel([B], name="other"))
    compute(connection, [shop], day, TODAY)
    remove = "select marked from private.remove_funnel(%s, %s)"
    assert connection.execute(remove, (shop, "nothing")).fetchall() == [{"marked": None}]
    assert connection.execute(remove, (shop, "f")).fetchall() == [{"marked": (TODAY - day).days + 1}]
    assert connection.execute(remove, (shop, "f")).fetchall() == [{"marked": None}]
    compute(connection, [shop], day, TODAY)
    assert set(table(connection, shop)) == {("other", day, 1)}
    assert add_funnel(connection, shop, Funnel([A, B]))["change"] == "restored"
    compute(connection, [shop], day, TODAY)
    assert {name for name, _, _ in table(connection, shop)} == {"f", "other"}


def test_days_whose_events_are_gone_keep_their_rows_and_version(connection: Connection, shop: UUID) -> None:
    """Retention drops a month of events; the funnel changes; the months that are left are rewritten."""
    month = TODAY.replace(day=1)
    old = datetime.combine(month - 45 * DAY, datetime.min.time(), UTC) + timedelta(hours=12)
    young = datetime.combine(month, datetime.min.time(), UTC) + timedelta(minutes=1)
    add_events(connection, shop, _events(("A", old), ("B", old + MINUTE), ("A", young)))
    compute(connection, [shop], old.date(), TODAY)
    kept = {key: value for key, value in table(connection, shop).items() if key[1] == old.date()}
    assert kept == {("f", old.date(), 1): (1, 1), ("f", old.date(), 2): (1, 1)}
    parts = connection.execute(
        "select child, period_end from private.list_partitions('event_tracking') where period_end <= %s", (_midnight(month),)
    ).fetchall()
    for part in parts:
        connection.execute("select private.drop_partition(%s)", (part["child"],))
    assert add_funnel(connection, shop, Funnel([B, A]))["first_day"] == max(part["period_end"] for part in parts).date()
    connection.execute("select private.mark_stale('funnel_analysis', array[%s], array[%s])", (shop, _midnight(old.date())))
    compute(connection, [shop], old.date(), TODAY)
    assert {key: value for key, value in table(connection, shop).items() if key[1] == old.date()} == kept
    assert {row["version"] for row in _rows(connection, shop) if row["date"] == old.date()} == {1}
    assert {row["version"] for row in _rows(connection, shop) if row["date"] >= month} <= {2}
    assert _open_days(connection, shop) == []
    connection.execute("update funnel_analysis set is_final = false")
    connection.commit()
    _sweep(connection)
    assert old.date() not in _open_days(connection, shop), "what cannot be computed is not marked for ever"


def test_what_is_marked_while_a_run_computes_stays_open(connection: Connection, shop: UUID) -> None:
    """The mark's version is newer than the one that the run read."""
    from analytics_assets.database import connect

    day = LONG_AGO.date()
    compute(connection, [shop], day, day)
    connection.commit()
    mark = "select private.mark_stale('funnel_analysis', array[%s], array[%s])"
    connection.execute(mark, (shop, _midnight(day)))
    connection.commit()
    with connect() as other:
        add_events(other, shop, _events(("A", LONG_AGO), visitor="w"))
        compute(connection, [shop], day - DAY, day - DAY)
        other.execute(mark, (shop, _midnight(day)))
        other.commit()
    assert _ledger(connection, shop, day)["status"] == "stale"
    compute(connection, [shop], day, day)
    assert _ledger(connection, shop, day)["status"] == "done" and table(connection, shop)["f", day, 1] == (2, 1)


def test_the_overview_pools_the_last_final_days(connection: Connection, shop: UUID) -> None:
    """Sums first, one division last; the running days, and another version's, are left out."""
    for back, going_on in ((2, 1), (6, 0), (8, 1), (20, 1), (45, 1)):
        at = datetime.combine(TODAY - back * DAY, datetime.min.time(), UTC) + timedelta(hours=1)
        for number in range(back):
            add_events(connection, shop, _events(("A", at), *([("B", at)] if number < going_on else []), visitor=str(number)))
    add_events(connection, shop, _events(("A", NOW - MINUTE)))
    compute(connection, [shop], TODAY - 60 * DAY, TODAY)
    rows = connection.execute(
        "select days, step_order, step_name, first_date, last_date, visitors, conversions, conversion_rate, overall_rate"
        " from funnel_overview order by 1, 2"
    ).fetchall()
    last = TODAY - 2 * DAY
    assert [
        (row["days"], row["step_order"], row["visitors"], row["conversions"], float(row["conversion_rate"])) for row in rows
    ] == [
        (7, 1, 2 + 6 + 8, 2, 0.125),
        (7, 2, 2, 2, 1.0),
        # Of twenty days ago there is the fixture's visitor too.
        (30, 1, 2 + 6 + 8 + 21, 4, 0.1081),
        (30, 2, 4, 4, 1.0),
    ]
    assert {(row["first_date"], row["last_date"]) for row in rows} == {(last - 6 * DAY, last), (last - 29 * DAY, last)}
    assert [float(row["overall_rate"]) for row in rows] == [1, 0.125, 1, 0.1081]


def test_messages_that_are_stored_mark_the_days_from_which_they_are_reached(connection: Connection) -> None:
    """As the collector stores them: known at last, a visitor's two sessions are one user's way, back to the window's start."""
    organization = add_organization(connection, "real")
    add_funnel(connection, organization, Funnel([A, B], timedelta(days=2), "user"))
    connection.commit()

    messages = [
        Message("1", LONG_AGO, organization, anonymous="a", name="A"),
        Message("2", LONG_AGO + DAY, organization, user="u", name="B"),
    ]

    def take_in(*messages: Message) -> None:
        store(connection, messages)
        hours = (LONG_AGO - DAY, LONG_AGO + 3 * DAY)
        connection.execute("select count(*) from summarize_events(%s, %s, %s)", ([organization], *hours))

    take_in(*messages)
    day = LONG_AGO.date()
    assert set(_open_days(connection, organization)) == {day + number * DAY for number in (-2, -1, 0, 1)}
    compute(connection, [organization], day - 2 * DAY, TODAY)
    assert table(connection, organization) == {("f", day, 1): (1, 0), ("f", day, 2): (0, 0)}
    connection.commit()
    store(
        connection, [Message("3", LONG_AGO + DAY, organization, user="u", anonymous="a", type="identify", name="User Identified")]
    )
    assert day in _open_days(connection, organization)
    compute(connection, [organization], day - 2 * DAY, TODAY)
    assert table(connection, organization) == {("f", day, 1): (1, 1), ("f", day, 2): (1, 1)}
