"""A change that is taken in marks exactly the hours whose figures it moves, however old, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    compute,
    customer,
    ledger,
    order,
    refund,
    take_in,
)

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def hour(number: int, minute: int = 20) -> datetime:
    return DAY.replace(hour=number, minute=minute)


@pytest.fixture
def shop(connection: Connection, tmp_path: Path) -> UUID:
    """An order at 9 refunded at 16, the same customer's at 12, a guest's at 15, all computed."""
    org = add_organization(connection)
    for stream, page in (
        ("orders", [order(1, hour(9), customer=5), order(2, hour(12), customer=5), order(3, hour(15), email="g@example.org")]),
        ("refunds", [refund(8, hour(16), "2.00", parent=1)]),
        ("customers", [customer(5, "five@example.org", hour(1))]),
    ):
        take_in(connection, tmp_path, "acme", stream, page)
    compute(connection, [org], DAY, DAY + timedelta(days=1))
    return org


@pytest.mark.parametrize(
    ("stream", "record", "hours"),
    [
        ("orders", order(1, hour(9), customer=5, note="no figure", modified=hour(20)), []),
        ("orders", order(1, hour(9), "11.00", customer=5, modified=hour(20)), [9]),
        ("orders", order(1, hour(9), customer=5, status="cancelled", modified=hour(20)), [9, 12, 16]),
        ("orders", order(1, hour(9), customer=5, currency="USD", modified=hour(20)), [9, 16]),
        ("orders", order(1, hour(10), customer=5, modified=hour(20)), [9, 10]),
        ("orders", order(2, hour(12), customer=6, modified=hour(20)), [12]),
        ("orders", order(4, hour(7), customer=5), [7, 9]),
        ("orders", order(4, hour(7), customer=5, status="pending"), [7]),
        ("orders", order(1, hour(9), "1.00", customer=5, modified=hour(8)), []),
        ("refunds", refund(8, hour(16), "3.00", parent=1), [16]),
        ("refunds", refund(8, hour(17), "2.00", parent=1), [16, 17]),
        ("customers", customer(5, "g@example.org", hour(1), modified=hour(20)), [15]),
        ("customers", customer(7, "new@example.org", hour(2)), []),
    ],
)
def test_taking_in_marks_the_hours_that_move(
    connection: Connection, tmp_path: Path, shop: UUID, stream: str, record: dict[str, Any], hours: list[int]
) -> None:
    take_in(connection, tmp_path, "acme", stream, [record])
    connection.execute("select count(*) from public.ingest_orders(%s, %s, %s)", ([shop], DAY, DAY + timedelta(days=1)))
    marks = ledger(connection, "acme", "hourly_aggregates")
    assert [at.hour for at, (status, _) in marks.items() if status == "stale"] == hours
    assert {status for status, _ in ledger(connection, "acme", "orders").values()} == {"done"}
    connection.execute("select count(*) from public.aggregate_hourly_data(%s, %s, %s)", ([shop], DAY, DAY + timedelta(days=1)))
    days = ledger(connection, "acme", "daily_aggregates")
    assert days[DAY][0] == ("stale" if hours else "done")
