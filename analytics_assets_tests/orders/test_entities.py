"""Orders, refunds and customers: the newest version wins in whatever order the versions come."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    compute,
    customer,
    daily,
    forget,
    hourly,
    order,
    refund,
    row_versions,
    state,
    take_in,
)

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TEN = DAY.replace(hour=10)


def hour(number: int, minute: int = 20) -> datetime:
    return DAY.replace(hour=number, minute=minute)


def run(connection: Connection, org: UUID, days: int = 1) -> None:
    compute(connection, [org], DAY, DAY + timedelta(days=days))


# Versions of orders, refunds and customers, each a page of its own: (stream, page).
VERSIONS: list[tuple[str, Any]] = [
    ("orders", [order(1, hour(9), "10.00", email="Ann@Example.org ", paid=False, status="pending")]),
    ("orders", [order(1, hour(9), "10.00", email="Ann@Example.org ", modified=hour(10))]),
    ("orders", [order(1, hour(9), "12.50", email="ann@example.org", items=3, modified=hour(11))]),
    ("orders", [order(2, hour(12), "7.00", customer=5, email=" ANN@example.ORG", modified=hour(12))]),
    ("orders", [order(2, hour(12), "7.00", customer=5, email="ann@example.org", status="cancelled", modified=hour(14))]),
    ("orders", [order(3, hour(15), "30.00", customer=6, email="bob@example.org")]),
    ("orders", [order(3, hour(15), "30.00", customer=0, email="bob@example.org", modified=hour(16))]),
    ("refunds", [refund(8, hour(16), "2.00", parent=1)]),
    ("refunds", [refund(9, hour(17), "7.00", parent=2)]),
    ("customers", [customer(5, "old@example.org", hour(1))]),
    ("customers", [customer(5, "ann@example.org", hour(1), modified=hour(13))]),
    ("customers", [customer(7, "BOB@example.org", hour(2))]),
]


@given(order_of=st.permutations(range(len(VERSIONS))), cuts=st.sets(st.integers(1, len(VERSIONS) - 1), max_size=4))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_versions_in_any_order_and_any_number_of_runs_make_the_same(
    connection: Connection, tmp_path: Path, order_of: list[int], cuts: set[int]
) -> None:
    org = add_organization(connection)

    def make(numbers: list[int], breaks: set[int]) -> dict[str, list[str]]:
        forget(connection, org)
        for position, number in enumerate(numbers, 1):
            take_in(connection, tmp_path, "acme", *VERSIONS[number])
            if position in breaks:
                run(connection, org)
        run(connection, org)
        return state(connection, org)

    undisturbed = make(list(range(len(VERSIONS))), set())
    assert daily(connection, "acme", "orders") == {DAY.date(): 2}
    assert hourly(connection, "acme", "customers_new") == {hour(9, 0): 1, hour(15, 0): 1}
    assert hourly(connection, "acme", "refunds_amount") == {hour(16, 0): 2}
    assert make(order_of, cuts) == undisturbed


@pytest.mark.parametrize("status", ["cancelled", "wc-trash"])
def test_order_that_no_longer_counts_leaves_its_hour(connection: Connection, tmp_path: Path, status: str) -> None:
    org = add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(1, hour(10), "10.00", customer=5), order(2, hour(10), "5.00")])
    run(connection, org)
    assert hourly(connection, "acme", "total_sales") == {TEN: 15}
    take_in(connection, tmp_path, "acme", "orders", [order(1, hour(10), "10.00", customer=5, status=status, modified=hour(20))])
    run(connection, org)
    assert hourly(connection, "acme", "total_sales") == {TEN: 5}
    assert hourly(connection, "acme", "customers_new") == {TEN: 0}
    assert daily(connection, "acme", "customers_ordering") == {DAY.date(): 0}
    take_in(connection, tmp_path, "acme", "orders", [order(2, hour(10), "5.00", status=status, modified=hour(21))])
    run(connection, org)
    assert state(connection, org)["hours"] == state(connection, org)["days"] == []


def test_statuses_that_do_not_count(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    statuses = ["cancelled", "failed", "pending", "trash", "checkout-draft", "auto-draft", "wc-cancelled", "draft", "Failed"]
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [order(i, hour(i), status=status, customer=5) for i, status in enumerate(statuses)],
    )
    run(connection, org)
    assert len(state(connection, org)["orders"]) == len(statuses)
    assert state(connection, org)["hours"] == state(connection, org)["days"] == []


def test_other_statuses_count(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    statuses = ["processing", "on-hold", "completed", "refunded", "wc-completed", "COMPLETED", "shipped-by-plugin"]
    take_in(connection, tmp_path, "acme", "orders", [order(i, hour(i), status=status) for i, status in enumerate(statuses)])
    run(connection, org)
    assert hourly(connection, "acme", "orders") == {hour(i, 0): 1 for i in range(len(statuses))}


def test_edit_and_late_payment_correct_the_hours_in_which_they_count(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    unpaid = order(1, hour(10), "10.00", paid=False, status="on-hold")
    take_in(connection, tmp_path, "acme", "orders", [unpaid])
    run(connection, org)
    assert hourly(connection, "acme", "total_sales") == {TEN: 10}
    paid = unpaid | {"date_paid_gmt": "2026-03-02T15:01:00", "date_modified_gmt": "2026-03-02T15:01:00", "total": "11.00"}
    take_in(connection, tmp_path, "acme", "orders", [paid])
    run(connection, org)
    assert hourly(connection, "acme", "total_sales") == {hour(15, 0): 11}
    take_in(connection, tmp_path, "acme", "orders", [unpaid | {"note": "an older version in another page"}])
    run(connection, org)
    assert hourly(connection, "acme", "total_sales") == {hour(15, 0): 11}


def test_parts_of_an_order_and_of_a_refund_by_the_catalogue(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [
            order(1, hour(10), "121.005", items=3, discount="10.10", shipping="5.005", tax="16.00", customer=5),
            order(2, hour(10), 20, items=2, discount="", shipping="", tax=""),  # type: ignore[arg-type]
        ],
    )
    take_in(connection, tmp_path, "acme", "refunds", [refund(9, hour(11), "50.00", parent=1, tax="6.00", shipping="4.00")])
    run(connection, org)
    eleven, d = hour(11, 0), Decimal
    expected: dict[str, dict[datetime, Any]] = {
        "orders": {TEN: 2},
        "items_sold": {TEN: 5},
        "gross_sales": {TEN: d("130.10")},
        "discounts": {TEN: d("10.10")},
        "shipping_revenue": {TEN: d("5.005"), eleven: -4},
        "taxes": {TEN: 16, eleven: -6},
        "refunds_amount": {eleven: 50},
        "refunds_count": {eleven: 1},
        "net_sales": {TEN: 120, eleven: -40},
        "total_sales": {TEN: d("141.005"), eleven: -50},
        "customers_new": {TEN: 1},
    }
    found = {metric: hourly(connection, "acme", metric) for metric in expected}
    assert found == expected
    assert all(type(value) is Decimal for values in found.values() for value in values.values())
    for metric, values in expected.items():
        assert daily(connection, "acme", metric) == {DAY.date(): sum(values.values())}


def test_refund_counts_while_its_order_does(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(connection, tmp_path, "acme", "refunds", [refund(9, hour(12), "4.00", parent=1), refund(10, hour(12), "1.00")])
    run(connection, org)
    assert hourly(connection, "acme", "refunds_amount") == {hour(12, 0): 5}  # before its order is known
    for status, changed, expected in (("cancelled", 13, 1), ("processing", 14, 5), ("trash", 15, 1), ("refunded", 16, 5)):
        take_in(connection, tmp_path, "acme", "orders", [order(1, hour(10), status=status, modified=hour(changed))])
        run(connection, org)
        assert hourly(connection, "acme", "refunds_amount") == {hour(12, 0): expected}, status


def test_guest_is_the_registered_customer_with_the_same_address(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [
            order(1, hour(9), email="  Ann@Example.ORG"),
            order(2, hour(10), email="ann@example.org"),
            order(3, hour(11), email=""),
            order(4, hour(11), email="no address"),
            order(5, hour(12), customer=5, email="other@example.org"),
        ],
    )
    run(connection, org)
    assert daily(connection, "acme", "customers_ordering") == {DAY.date(): 2}
    assert hourly(connection, "acme", "customers_new") == {hour(9, 0): 1, TEN: 0, hour(11, 0): 0, hour(12, 0): 1}
    take_in(connection, tmp_path, "acme", "customers", [customer(5, "ANN@example.org ", hour(13))])
    run(connection, org)
    assert daily(connection, "acme", "customers_ordering") == {DAY.date(): 1}
    assert hourly(connection, "acme", "customers_new") == {hour(9, 0): 1, TEN: 0, hour(11, 0): 0, hour(12, 0): 0}
    keys = connection.execute("select customer_key, first_order_at from public.customers").fetchall()
    assert [tuple(row.values()) for row in keys] == [("id:5", hour(9))]


def test_new_customer_moves_to_an_older_order_that_comes_late(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    second_day = DAY + timedelta(days=1)
    take_in(connection, tmp_path, "acme", "orders", [order(2, second_day.replace(hour=8), customer=5)])
    run(connection, org, days=2)
    assert hourly(connection, "acme", "customers_new") == {second_day.replace(hour=8): 1}
    take_in(connection, tmp_path, "acme", "orders", [order(1, hour(10), customer=5)])
    run(connection, org, days=2)
    assert hourly(connection, "acme", "customers_new") == {TEN: 1, second_day.replace(hour=8): 0}
    assert daily(connection, "acme", "customers_new") == {DAY.date(): 1, second_day.date(): 0}
    assert daily(connection, "acme", "customers_returning") == {DAY.date(): 0, second_day.date(): 1}


def test_addresses_stay_in_raw_pages(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(
        connection,
        tmp_path,
        "acme",
        "customers",
        [customer(5, "secret@example.org", hour(1)), customer(6, "broken", hour(1)) | {"id": 0, "email": "secret@example.org"}],
    )
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [order(1, hour(9), email="Secret@example.org"), order(2, hour(9), "x", email="secret@example.org")],
    )
    run(connection, org)
    tables = connection.execute(
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'm') and n.nspname in ('public', 'private', 'partitions')"
    ).fetchall()
    holding = set()
    for table in tables:
        found = connection.execute(
            f"select count(*) as n from {table['name']} t where t::text ~* '(secret|example[.]org)'"
            f" or t::text ~* encode('secret@', 'hex')"
        ).fetchone()
        assert found is not None
        if found["n"]:
            holding.add(str(table["name"]).removeprefix("partitions.").split("_2")[0])
    assert holding == {"raw_data_backup"}


def test_same_content_again_writes_no_entity(connection: Connection, tmp_path: Path) -> None:
    org = add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(1, hour(9), email="a@example.org")])
    take_in(connection, tmp_path, "acme", "refunds", [refund(9, hour(11), "1.00", parent=1)])
    take_in(connection, tmp_path, "acme", "customers", [customer(5, "a@example.org", hour(1))])
    run(connection, org)
    entities = ("orders", "refunds", "customers", "hourly_facts", "daily_facts")

    def versions() -> list[Any]:
        return [row for row in row_versions(connection) if row[0] in entities]

    before = versions()
    assert len({row[0] for row in before}) == len(entities)
    take_in(
        connection, tmp_path, "acme", "orders", [order(1, hour(9), email="a@example.org"), order(2, hour(9), status="cancelled")]
    )
    take_in(connection, tmp_path, "acme", "refunds", [refund(9, hour(11), "1.00", parent=1)], [])
    take_in(connection, tmp_path, "acme", "customers", [customer(5, "a@example.org", hour(1)), customer(6, "", hour(1))])
    run(connection, org)
    assert [row for row in before if row not in versions()] == []
