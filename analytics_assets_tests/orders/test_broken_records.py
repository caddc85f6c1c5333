"""Records that cannot be taken in: quarantined with field and value, their hours failed for that organisation alone."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_assets_tests.woocommerce import (
    Connection,
    add_organization,
    compute,
    customer,
    daily,
    hourly,
    ledger,
    order,
    quarantined,
    refund,
    row_versions,
    take_in,
)

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TEN = DAY.replace(hour=10)
DONE = {DAY + timedelta(hours=h): ("done", None) for h in range(24)}
NO_DATES = dict.fromkeys(("date_created", "date_created_gmt", "date_paid", "date_paid_gmt"))
FUTURE = f"{datetime.now(UTC).date() + timedelta(days=30)}T12:00:00"


def hour(number: int, minute: int = 20) -> datetime:
    return DAY.replace(hour=number, minute=minute)


def run(connection: Connection, *slugs: str) -> None:
    ids = connection.execute(
        "select id from public.organizations where slug = any(%s) or %s", (list(slugs), not slugs)
    ).fetchall()
    compute(connection, [row["id"] for row in ids], DAY, DAY + timedelta(days=1))


def failed(connection: Connection, slug: str, asset: str) -> dict[datetime, str | None]:
    return {bucket: error for bucket, (status, error) in ledger(connection, slug, asset).items() if status == "failed"}


# No compression makes them fit into an index.
LONG_ID = "".join(hashlib.sha256(str(i).encode()).hexdigest() for i in range(500))
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"total": "ten"}, 'order 7: total is "ten", which is not a number', "total"),
    ({"total": None}, "order 7: total is null, which is not a number", "total"),
    ({"total": "NaN"}, 'order 7: total is "NaN", which is not a number', "total"),
    ({"total": "1,234.00"}, 'order 7: total is "1,234.00", which is not a number', "total"),
    ({"total": "9" * 140_000}, 'order 7: total is "9999999999', "total"),
    ({"total": "1e999"}, 'order 7: total is "1e999", which is not a number', "total"),
    ({"total": "٣"}, 'order 7: total is "٣", which is not a number', "total"),
    ({"total": {"amount": 1}}, 'order 7: total is {"amount": 1}, which is not a number', "total"),
    ({"total_tax": "-"}, 'order 7: total_tax is "-", which is not a number', "total_tax"),
    ({"shipping_total": "free"}, 'order 7: shipping_total is "free", which is not a number', "shipping_total"),
    ({"discount_total": "5%"}, 'order 7: discount_total is "5%", which is not a number', "discount_total"),
    ({"currency": "EURO"}, 'order 7: currency is "EURO", which is not a currency code', "currency"),
    ({"currency": ""}, 'order 7: currency is "", which is not a currency code', "currency"),
    ({"status": None}, "order 7: status is null, which is not a status", "status"),
    ({"line_items": None}, "order 7: line_items is null, which is not a list of lines", "line_items"),
    (
        {"line_items": [{"quantity": "two"}]},
        'order 7: line_items.quantity is "two", which is not a number',
        "line_items.quantity",
    ),
    ({"line_items": [{"quantity": "9" * 140_000}]}, 'order 7: line_items.quantity is "99999', "line_items.quantity"),
    (
        {"line_items": [{"quantity": 1}, {}]},
        "order 7: line_items.quantity is missing, which is not a number",
        "line_items.quantity",
    ),
    ({"line_items": ["text"]}, "order 7: line_items.quantity is missing, which is not a number", "line_items.quantity"),
    ({"customer_id": LONG_ID}, 'order 7: customer_id is "5feceb66ffc86f38d952786c6d696c79c2dbc239', "customer_id"),
    ({"date_modified_gmt": "2199-01-01T00:00:00"}, 'order 7: date_modified_gmt is "2199-01-01T00:00:00"', "date_modified_gmt"),
]


def test_broken_order_fails_its_own_hour_of_its_own_organisation(connection: Connection, tmp_path: Path) -> None:
    """Every kind at once, each in an organisation of its own, in one run with a sound one."""
    slugs = {f"case-{number}": case for number, case in enumerate(BROKEN)}
    for slug in (*slugs, "umbra"):
        add_organization(connection, slug)
    for slug, (broken, _, _) in slugs.items():
        take_in(connection, tmp_path, slug, "orders", [order(6, hour(9)), order(7, hour(10)) | broken, order(8, hour(11))])
    take_in(connection, tmp_path, "umbra", "orders", [order(i, hour(i)) for i in (9, 10, 11)])
    run(connection)
    for slug, (_, reason, field) in slugs.items():
        (row,) = quarantined(connection, slug)
        assert (row["level"], row["stream"], row["record_key"], row["field"]) == ("record", "orders", "7", field), slug
        assert row["reason"].startswith(reason)
        for asset in ("orders", "hourly_aggregates"):
            ((bucket, error),) = failed(connection, slug, asset).items()
            assert bucket == TEN and str(error).startswith(row["reason"])
            assert f"`analytics quarantine discard {row['id']}`" in str(error)
        assert hourly(connection, slug, "orders") == {hour(9, 0): 1, hour(11, 0): 1}
        status, error = ledger(connection, slug, "daily_aggregates")[DAY]
        assert status == "failed" and "1 of 24 hours failed, first 2026-03-02 10:00 UTC: order 7" in str(error)
        assert daily(connection, slug, "orders") == {}
    for asset in ("orders", "hourly_aggregates"):
        assert ledger(connection, "umbra", asset) == DONE
    assert daily(connection, "umbra", "orders") == {DAY.date(): 3}


@pytest.mark.parametrize(
    ("broken", "field", "value"),
    [
        ({"date_created": "soon", "date_created_gmt": "soon"}, "date_created_gmt", '"soon"'),
        (NO_DATES, "date_created_gmt", "null"),
        (
            {"date_created": "2026-02-30T10:00:00", "date_created_gmt": "2026-02-30T10:00:00"},
            "date_created_gmt",
            '"2026-02-30T10:00:00"',
        ),
        ({"date_created_gmt": "0000-01-01T00:00:00"} | {"date_created": None}, "date_created_gmt", '"0000-01-01T00:00:00"'),
        pytest.param({"date_created_gmt": FUTURE}, "date_created_gmt", f'"{FUTURE}"', id="created-in-the-future"),
        ({"date_created_gmt": "1980-01-01T00:00:00"}, "date_created_gmt", '"1980-01-01T00:00:00"'),
        ({"date_paid": "soon", "date_paid_gmt": "soon"}, "date_paid_gmt", '"soon"'),
        pytest.param({"date_paid_gmt": FUTURE}, "date_paid_gmt", f'"{FUTURE}"', id="paid-in-the-future"),
    ],
)
def test_order_without_a_usable_date_fails_the_hours_of_its_page(
    connection: Connection, tmp_path: Path, broken: dict[str, Any], field: str, value: str
) -> None:
    add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(6, hour(9)), order(7, hour(10)) | broken, order(8, hour(11))])
    take_in(connection, tmp_path, "acme", "orders", [order(9, hour(15))])
    run(connection)
    (row,) = quarantined(connection, "acme")
    assert (row["record_key"], row["field"]) == ("7", field)
    assert row["reason"] == f"order 7: {field} is {value}, which is not a date and time between 1990 and tomorrow"
    for asset in ("orders", "hourly_aggregates"):
        assert list(failed(connection, "acme", asset)) == [hour(9, 0), TEN, hour(11, 0)]
    assert hourly(connection, "acme", "orders") == {hour(15, 0): 1}
    assert max(ledger(connection, "acme", "orders")) == hour(23, 0)  # no hour of another century is kept


@pytest.mark.parametrize(
    ("stream", "record", "reason"),
    [
        ("refunds", refund(7, hour(10), "much"), 'refund 7: amount is "much", which is not a number'),
        ("refunds", refund(7, hour(10), "5.00", tax="?"), "refund 7: line_items is [{"),
        ("refunds", refund(7, hour(10), "5.00", shipping="?"), "refund 7: shipping_lines is [{"),
        ("refunds", refund(7, hour(10), "5.00") | {"id": LONG_ID}, 'refund (no id): id is "5feceb66'),
        ("refunds", refund(7, hour(10), "5.00") | {"parent_id": LONG_ID}, 'refund 7: parent_id is "5feceb66'),
        ("customers", customer(7, "", hour(10)) | {"id": LONG_ID}, 'customer (no id): id is "5feceb66'),
        ("orders", order(7, hour(10)) | {"id": LONG_ID}, 'order (no id): id is "5feceb66'),
        ("orders", order(7, hour(10), status="") | {"date_paid_gmt": "9999-01-01T00:00:00"}, 'order 7: status is ""'),
        ("refunds", refund(7, hour(10), "5.00") | {"id": None}, "refund (no id): id is null, which is not an id"),
        ("customers", customer(7, "a@example.org", hour(10)) | {"id": 0}, "customer (no id): id is 0, which is not an id"),
        (
            "orders",
            {"id": None} | {k: v for k, v in order(7, hour(10)).items() if k != "id"},
            "order (no id): id is null, which is not an id",
        ),
        ("orders", "text", 'order (no id): record is "text", which is not an order'),
    ],
)
def test_broken_records_of_every_stream_are_told(
    connection: Connection, tmp_path: Path, stream: str, record: Any, reason: str
) -> None:
    add_organization(connection)
    sound: Any = {
        "orders": order,
        "refunds": lambda n, at: refund(n, at, "1.00"),
        "customers": lambda n, at: customer(n, "", at),
    }[stream]
    take_in(connection, tmp_path, "acme", stream, [sound(1, hour(10)), record])
    run(connection)
    (row,) = quarantined(connection, "acme")
    assert row["reason"].startswith(reason)
    assert list(failed(connection, "acme", "hourly_aggregates")) == [TEN]


def test_hour_keeps_its_rows_until_a_sound_version_resolves_it(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10), "10.00"), order(8, hour(10), "1.00")])
    run(connection)
    assert hourly(connection, "acme", "total_sales") == {TEN: 11}
    take_in(
        connection,
        tmp_path,
        "acme",
        "orders",
        [order(7, hour(10), "oops", modified=hour(12)), order(8, hour(10), "2.00", modified=hour(12))],
    )
    run(connection)
    for asset in ("orders", "hourly_aggregates"):
        assert list(failed(connection, "acme", asset)) == [TEN]
    assert hourly(connection, "acme", "total_sales") == {TEN: 11}
    assert daily(connection, "acme", "total_sales") == {DAY.date(): 11}
    versions = row_versions(connection)
    run(connection)
    assert row_versions(connection) == versions
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10), "20.00", modified=hour(13))])
    run(connection)
    assert [row["resolution"] for row in quarantined(connection, "acme")] == ["superseded"]
    for asset in ("orders", "hourly_aggregates"):
        assert ledger(connection, "acme", asset) == DONE
    assert daily(connection, "acme", "total_sales") == {DAY.date(): 22}


def test_rerun_of_a_failed_hour_does_not_even_lock_a_row(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10), "oops")])
    run(connection)
    versions = row_versions(connection, locks=True)
    run(connection)
    assert row_versions(connection, locks=True) == versions


def test_broken_version_of_a_done_hour_fails_it_though_no_figure_moves(connection: Connection, tmp_path: Path) -> None:
    """And a sound version with the figures of before makes it done again."""
    add_organization(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10))])
    run(connection)
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10), "oops", modified=hour(12))])
    run(connection)
    assert list(failed(connection, "acme", "hourly_aggregates")) == [TEN]
    assert [s for s, _ in ledger(connection, "acme", "daily_aggregates").values()][:1] == ["failed"]
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10), modified=hour(13))])
    run(connection)
    assert ledger(connection, "acme", "hourly_aggregates") == DONE
    assert ledger(connection, "acme", "daily_aggregates")[DAY] == ("done", None)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("sound_first", [True, False])
def test_broken_version_older_than_a_sound_one_does_no_harm(
    connection: Connection, tmp_path: Path, together: bool, sound_first: bool
) -> None:
    add_organization(connection)
    broken, sound = [order(7, hour(10), "oops")], [order(7, hour(10), "20.00", modified=hour(13))]
    for page in (sound, broken) if sound_first else (broken, sound):
        take_in(connection, tmp_path, "acme", "orders", page)
        if not together:
            run(connection)
    run(connection)
    assert [row["resolution"] for row in quarantined(connection, "acme")] == ["superseded"]
    assert ledger(connection, "acme", "orders") == ledger(connection, "acme", "hourly_aggregates") == DONE
    assert hourly(connection, "acme", "total_sales") == {TEN: 20}


@pytest.mark.parametrize("stream", ["refunds", "customers", "orders"])
def test_sound_record_fetched_later_resolves_a_broken_one(connection: Connection, tmp_path: Path, stream: str) -> None:
    add_organization(connection)
    sound = {"refunds": refund(7, hour(10), "1.00"), "customers": customer(7, "", hour(10)), "orders": order(7, hour(10))}[stream]
    broken: dict[str, Any] = {
        "refunds": {"amount": "x"},
        "customers": {"date_created_gmt": "x", "date_created": "x"},
        "orders": NO_DATES,
    }
    take_in(connection, tmp_path, "acme", stream, [sound | broken[stream], sound | {"id": 8}], [sound])
    run(connection)
    assert [row["resolution"] for row in quarantined(connection, "acme")] == ["superseded"]
    assert ledger(connection, "acme", "hourly_aggregates") == DONE


def test_discarding_computes_the_hour_without_the_record(connection: Connection, tmp_path: Path) -> None:
    add_organization(connection)
    take_in(
        connection, tmp_path, "acme", "orders", [order(7, hour(10), "oops"), order(8, hour(10), "5.00"), order(9, hour(10), "x")]
    )
    run(connection)
    first, second = quarantined(connection, "acme")
    assert "(and 1 more)" in str(failed(connection, "acme", "orders")[TEN])
    for row, left in ((first, [TEN]), (second, [])):
        found = connection.execute("select public.discard_quarantined(%s) as reason", (row["id"],)).fetchone()
        assert found == {"reason": row["reason"]}
        run(connection)
        assert list(failed(connection, "acme", "orders")) == list(failed(connection, "acme", "hourly_aggregates")) == left
    assert hourly(connection, "acme", "total_sales") == {TEN: 5}
    assert daily(connection, "acme", "total_sales") == {DAY.date(): 5}
    again = connection.execute("select public.discard_quarantined(%s) as reason", (first["id"],)).fetchone()
    assert again == {"reason": None}
    take_in(connection, tmp_path, "acme", "orders", [order(7, hour(10), "oops")])  # the same again: still discarded
    run(connection)
    assert ledger(connection, "acme", "hourly_aggregates") == DONE


def test_a_broken_record_is_kept_without_the_address_in_it(connection: Connection, tmp_path: Path) -> None:
    """Its JSON and its reason have the hash that the customer has; it is known again, and stays whole within its raw page."""
    add_organization(connection)
    broken = order(7, hour(10)) | {"total": "Ann@Shop.example", "customer_note": "to ann@shop.example, please"}
    for _ in range(2):
        take_in(connection, tmp_path, "acme", "orders", [broken])
        run(connection)
    (row,) = quarantined(connection, "acme")
    hashed = "select encode(private.email_hash(organization_id, 'ann@shop.example'), 'hex') as hash from public.raw_data_backup"
    found = connection.execute(hashed).fetchall()
    content = bytes(row["content"]).decode()
    assert found[0]["hash"] in row["reason"] and content.count(found[0]["hash"]) == 2
    assert "shop.example" not in (row["reason"] + content).lower()
    # The value is cut in the reason, and half of an address would not be known as one.
    take_in(connection, tmp_path, "acme", "orders", [order(8, hour(11)) | {"total": "t" * 70 + " ann@shop.example"}])
    run(connection)
    assert ["ann" in one["reason"] for one in quarantined(connection, "acme")] == [False, False]
