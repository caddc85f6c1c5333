"""The functions and views that the plan names, as somebody with psql uses them."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    compute,
    daily,
    hourly,
    ledger,
    order,
    row_versions,
    state,
    take_in,
)

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def call(connection: Connection, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    rows = connection.execute(statement, parameters).fetchall()
    connection.commit()
    return rows


def dropped(connection: Connection, table: str, keep_from: Any) -> dict[str, str | None]:
    """What a cleanup dropped (None) or kept (why)."""
    rows = call(connection, f"select * from public.cleanup_old_{table}(%s)", keep_from)
    assert all(row["dropped"] == (row["reason"] is None) for row in rows)
    return {row["partition"]: row["reason"] for row in rows}


def partitions(connection: Connection, table: str) -> list[str]:
    return [row["child"] for row in call(connection, "select child from private.list_partitions(%s)", table)]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_plans_forms_compute_yesterday_and_today(connection: Connection, tmp_path: Path, zone: str) -> None:
    org, other = add_organization(connection, zone=zone), add_organization(connection, "umbra", zone=zone)
    now = datetime.now(UTC).replace(microsecond=0)
    moments = [now - timedelta(minutes=1), now - timedelta(hours=9), now - timedelta(hours=24)]
    for slug in ("acme", "umbra"):
        take_in(connection, tmp_path, slug, "orders", [order(i, at, "2.00", zone=zone) for i, at in enumerate(moments)])
    call(connection, "select public.aggregate_hourly_data(%s::uuid)", org)
    call(connection, "select public.aggregate_daily_data(%s::uuid)", org)
    assert sum(hourly(connection, "acme", "orders").values()) == 3
    days = daily(connection, "acme", "total_sales")
    assert sum(days.values()) == 6 and len(days) in (1, 2)
    today = datetime.now(ZoneInfo(zone)).date()
    statuses = {bucket.date(): status for bucket, (status, _) in ledger(connection, "acme", "daily_aggregates").items()}
    assert statuses[today] == statuses[today - timedelta(days=1)] == "done"
    before = row_versions(connection)
    call(connection, "select public.aggregate_hourly_data(%s::uuid)", org)
    call(connection, "select public.aggregate_daily_data(%s::uuid)", org)
    assert row_versions(connection) == before
    assert state(connection, other)["hours"] == []


@pytest.mark.parametrize("function", ["aggregate_hourly_data", "aggregate_daily_data"])
def test_unknown_organisation_is_told(connection: Connection, function: str) -> None:
    nobody = uuid.uuid4()
    with pytest.raises(psycopg.errors.RaiseException, match=f"no organisation with id {nobody}") as raised:
        call(connection, f"select public.{function}(%s::uuid)", nobody)
    assert "analytics organizations list" in str(raised.value.diag.message_hint)


@pytest.fixture
def three_days(connection: Connection, tmp_path: Path) -> UUID:
    """An organisation in New York with an order an hour over three days and their hours, but no days, computed."""
    org = add_organization(connection, zone="America/New_York")
    orders = [order(i, DAY + timedelta(hours=i), "1.00") for i in range(72)]
    take_in(connection, tmp_path, "acme", "orders", orders)
    call(
        connection,
        "select count(*) from public.ingest_orders(%s, %s, %s)",
        [org],
        DAY - timedelta(days=2),
        DAY + timedelta(days=5),
    )
    call(
        connection,
        "select count(*) from public.aggregate_hourly_data(%s, %s, %s)",
        [org],
        DAY - timedelta(days=2),
        DAY + timedelta(days=5),
    )
    return org


def roll_up(connection: Connection, org: UUID) -> None:
    call(
        connection,
        "select count(*) from public.aggregate_daily_data(%s, %s, %s)",
        [org],
        DAY.date() - timedelta(days=1),
        DAY.date() + timedelta(days=3),
    )


def test_hours_are_dropped_only_after_their_days_are_done(connection: Connection, three_days: UUID) -> None:
    children = [f"hourly_facts_2026030{i}" for i in (2, 3, 4)]
    assert partitions(connection, "hourly_facts")[:3] == children
    assert dropped(connection, "hourly_aggregates", DAY + timedelta(days=2)) == {
        children[0]: "2 days are not rolled up, e.g. acme 2026-03-01",
        children[1]: "2 days are not rolled up, e.g. acme 2026-03-02",
    }
    assert len(hourly(connection, "acme", "orders")) == 72
    roll_up(connection, three_days)
    before = daily(connection, "acme", "orders")
    assert list(before.values()) == [5, 24, 24, 19]
    assert dropped(connection, "hourly_aggregates", DAY + timedelta(hours=23)) == {}  # not wholly past its time
    assert dropped(connection, "hourly_aggregates", DAY + timedelta(days=1)) == {children[0]: None}
    assert partitions(connection, "hourly_facts")[:2] == children[1:]
    assert len(hourly(connection, "acme", "orders")) == 48
    assert daily(connection, "acme", "orders") == before


def test_day_whose_hours_were_dropped_is_never_computed_from_a_part(
    connection: Connection, three_days: UUID, tmp_path: Path
) -> None:
    roll_up(connection, three_days)
    assert dropped(connection, "hourly_aggregates", DAY + timedelta(days=1)) == {"hourly_facts_20260302": None}
    before = state(connection, three_days)["days"]
    versions = [row for row in row_versions(connection) if row[0] == "daily_facts"]
    roll_up(connection, three_days)
    assert [row for row in row_versions(connection) if row[0] == "daily_facts"] == versions
    # An order of the second of March in New York changes late: its hour is computed, its day waits.
    late = DAY + timedelta(days=1, hours=2)
    take_in(connection, tmp_path, "acme", "orders", [order(26, late, "100.00", modified=late + timedelta(days=9))])
    call(
        connection,
        "select count(*) from public.ingest_orders(%s, %s, %s)",
        [three_days],
        late - timedelta(hours=2),
        late + timedelta(hours=2),
    )
    call(
        connection,
        "select count(*) from public.aggregate_hourly_data(%s, %s, %s)",
        [three_days],
        late - timedelta(hours=2),
        late + timedelta(hours=2),
    )
    roll_up(connection, three_days)
    assert hourly(connection, "acme", "total_sales")[late] == 100
    assert state(connection, three_days)["days"] == before
    status, error = ledger(connection, "acme", "daily_aggregates")[DAY]
    assert status == "waiting" and str(error).startswith("19 of 24 hours are not computed, first 2026-03-02 05:00 UTC. Backfill")
    # And what waits is not dropped, until the hours are back.
    assert dropped(connection, "hourly_aggregates", DAY + timedelta(days=2)) == {
        "hourly_facts_20260303": "1 days are not rolled up, e.g. acme 2026-03-02"
    }
    compute(connection, [three_days], DAY, DAY + timedelta(days=1))
    roll_up(connection, three_days)
    assert daily(connection, "acme", "total_sales")[DAY.date()] == 123
    assert ledger(connection, "acme", "daily_aggregates")[DAY] == ("done", None)


def test_failed_day_keeps_its_hours(connection: Connection, three_days: UUID, tmp_path: Path) -> None:
    take_in(connection, tmp_path, "acme", "orders", [order(99, DAY + timedelta(hours=12), "oops")])
    compute(connection, [three_days], DAY - timedelta(days=2), DAY + timedelta(days=5))
    assert list(dropped(connection, "hourly_aggregates", DAY + timedelta(days=1)).values()) == [
        "1 days are not rolled up, e.g. acme 2026-03-02"
    ]


def test_raw_pages_are_dropped_only_after_they_are_processed(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(1, DAY)], [order(2, DAY)])
    (child,) = [name for name in partitions(connection, "raw_data_backup") if name.endswith(f"{datetime.now(UTC):%Y%m%d}")]
    later = datetime.now(UTC) + timedelta(days=2)
    assert dropped(connection, "raw_data_backup", later)[child] == "2 pages are not processed, e.g. of acme woocommerce orders"
    compute(connection, [org], DAY, DAY + timedelta(days=1))
    before = state(connection, org)
    assert dropped(connection, "raw_data_backup", later)[child] is None
    assert child not in partitions(connection, "raw_data_backup")
    assert state(connection, org) == before
    # Their digests go too: the same page can be taken in again, and changes nothing.
    assert take_in(connection, tmp_path, "acme", "orders", [order(1, DAY)]).stored == 1
    compute(connection, [org], DAY, DAY + timedelta(days=1))
    assert state(connection, org) == before


def test_days_are_dropped_by_whole_months(connection: Connection, three_days: UUID) -> None:
    roll_up(connection, three_days)
    assert dropped(connection, "daily_aggregates", datetime(2026, 3, 31).date()) == {}
    assert dropped(connection, "daily_aggregates", datetime(2026, 4, 1).date()) == {"daily_facts_202603": None}
    assert daily(connection, "acme", "orders") == {}


def test_plans_cleanups_tell_what_they_did(connection: Connection, three_days: UUID) -> None:
    told: list[str] = []
    connection.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    call(connection, "select public.cleanup_old_hourly_aggregates()")
    assert told[0] == "hourly_aggregates: hourly_facts_20260302 stays: 2 days are not rolled up, e.g. acme 2026-03-01"
    roll_up(connection, three_days)
    told.clear()
    for table in ("hourly_aggregates", "daily_aggregates", "raw_data_backup"):
        call(connection, f"select public.cleanup_old_{table}()")
    assert told == [f"hourly_aggregates: hourly_facts_2026030{i} dropped" for i in (2, 3, 4)]
    assert sum(daily(connection, "acme", "orders").values()) == 72


@pytest.mark.parametrize(("view", "time"), [("hourly_aggregates", '"timestamp"'), ("daily_aggregates", "date")])
def test_readers_see_the_plans_columns(connection: Connection, three_days: UUID, view: str, time: str) -> None:
    roll_up(connection, three_days)
    statement = (
        f"select id, organization_id, channel, metric, value, {time}, metadata, created_at, updated_at"
        f" from public.{view} order by metric, {time}"
    )
    rows = call(connection, statement)
    assert len({row["id"] for row in rows}) == len(rows) > 40
    assert {type(row["id"]) for row in rows} == {UUID} and {row["organization_id"] for row in rows} == {three_days}
    assert {row["channel"] for row in rows} == {"woocommerce"} and all(isinstance(row["value"], Decimal) for row in rows)
    assert {row["metric"]: row["metadata"] for row in rows if row["metric"] in ("orders", "net_sales")} == {
        "orders": {"unit": "count"},
        "net_sales": {"unit": "money", "currency": "EUR"},
    }
    assert all(row["created_at"] <= row["updated_at"] <= datetime.now(UTC) for row in rows)
    assert [row["id"] for row in call(connection, statement)] == [row["id"] for row in rows]
