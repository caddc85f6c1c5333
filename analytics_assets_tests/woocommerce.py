"""Small WooCommerce records for tests."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from analytics_assets.organizations import registry
from analytics_assets.raw.importer import ImportReport, import_files, open_target

Connection = psycopg.Connection[dict[str, Any]]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S")


def order(
    number: int,
    at: datetime,
    total: str = "10.00",
    *,
    status: str = "completed",
    zone: str = "UTC",
    modified: datetime | None = None,
    customer: int = 0,
    email: str = "",
    items: int = 1,
    currency: str = "EUR",
    discount: str = "0.00",
    shipping: str = "0.00",
    tax: str = "0.00",
    paid: bool = True,
    **extra: Any,
) -> dict[str, Any]:
    """An order as GET /wc/v3/orders gives it; ``at`` is the UTC instant at which it was placed and paid."""
    local = at.astimezone(ZoneInfo(zone))
    changed = modified or at
    return {
        "id": number,
        "parent_id": 0,
        "status": status,
        "currency": currency,
        "date_created": _text(local),
        "date_created_gmt": _text(at.astimezone(UTC)),
        "date_modified": _text(changed.astimezone(ZoneInfo(zone))),
        "date_modified_gmt": _text(changed.astimezone(UTC)),
        "date_paid": _text(local) if paid else None,
        "date_paid_gmt": _text(at.astimezone(UTC)) if paid else None,
        "discount_total": discount,
        "shipping_total": shipping,
        "total": total,
        "total_tax": tax,
        "customer_id": customer,
        "billing": {"email": email},
        "line_items": [{"id": number * 10, "quantity": items, "subtotal": total, "total": total, "total_tax": tax}],
        "refunds": [],
    } | extra


def refund(
    number: int, at: datetime, amount: str, *, parent: int = 0, zone: str = "UTC", tax: str = "0.00", shipping: str = "0.00"
) -> dict[str, Any]:
    """A refund as GET /wc/v3/refunds gives it."""
    return {
        "id": number,
        "parent_id": parent,
        "amount": amount,
        "date_created": _text(at.astimezone(ZoneInfo(zone))),
        "date_created_gmt": _text(at.astimezone(UTC)),
        "line_items": [{"id": number * 10, "quantity": -1, "total": f"-{amount}", "total_tax": f"-{tax}"}],
        "shipping_lines": [{"id": number * 10 + 1, "total": f"-{shipping}", "total_tax": "0.00"}] if shipping != "0.00" else [],
    }


def customer(
    number: int, email: str, registered: datetime, *, modified: datetime | None = None, zone: str = "UTC"
) -> dict[str, Any]:
    """A registered customer as GET /wc/v3/customers gives it."""
    changed = modified or registered
    return {
        "id": number,
        "email": email,
        "username": f"user{number}",
        "is_paying_customer": True,
        "date_created": _text(registered.astimezone(ZoneInfo(zone))),
        "date_created_gmt": _text(registered.astimezone(UTC)),
        "date_modified": _text(changed.astimezone(ZoneInfo(zone))),
        "date_modified_gmt": _text(changed.astimezone(UTC)),
    }


def add_organization(connection: Connection, slug: str = "acme", zone: str = "UTC", currency: str = "EUR") -> UUID:
    """Adds an organisation; returns its id."""
    return registry.add(connection, slug, time_zone=zone, currency=currency)[0].id


def take_in(connection: Connection, folder: Path, slug: str, stream: str, *pages: Any) -> ImportReport:
    """Imports pages through a file, one a line, as a user would. A str or bytes page goes in as it is."""
    file = folder / f"{slug}-{stream}-{len(list(folder.iterdir()))}.jsonl"
    with file.open("wb") as stream_:
        for page in pages:
            content = page if isinstance(page, bytes) else page.encode() if isinstance(page, str) else json.dumps(page).encode()
            stream_.write(content + b"\n")
    return import_files(connection, open_target(connection, slug, "woocommerce", stream), [file])


def compute(connection: Connection, ids: list[UUID], start: datetime, end: datetime) -> None:
    """Orders, hours and days of a range through the SQL functions, as the assets call them."""
    for function in ("ingest_orders", "aggregate_hourly_data"):
        connection.execute(f"select count(*) from public.{function}(%s, %s, %s)", (ids, start, end))
        connection.commit()
    connection.execute("select count(*) from public.aggregate_daily_data(%s, %s, %s)", (ids, start.date(), end.date()))
    connection.commit()


def hourly(connection: Connection, slug: str, metric: str) -> dict[datetime, Any]:
    """Values of a metric by hour (UTC instants), as a reader sees them."""
    rows = connection.execute(
        'select a."timestamp", a.value from public.hourly_aggregates a join public.organizations o on o.id = a.organization_id'
        " where o.slug = %s and a.metric = %s order by 1",
        (slug, metric),
    ).fetchall()
    return {row["timestamp"]: row["value"] for row in rows}


def daily(connection: Connection, slug: str, metric: str) -> dict[Any, Any]:
    """Values of a metric by day, as a reader sees them."""
    rows = connection.execute(
        "select a.date, a.value from public.daily_aggregates a join public.organizations o on o.id = a.organization_id"
        " where o.slug = %s and a.metric = %s order by 1",
        (slug, metric),
    ).fetchall()
    return {row["date"]: row["value"] for row in rows}


def ledger(connection: Connection, slug: str, asset: str) -> dict[datetime, tuple[str, str | None]]:
    """Status and error of an asset's buckets."""
    rows = connection.execute(
        "select l.bucket, l.status, l.error from public.partition_ledger l join public.organizations o on o.id = l.organization_id"
        " where o.slug = %s and l.asset = %s order by 1",
        (slug, asset),
    ).fetchall()
    return {row["bucket"]: (row["status"], row["error"]) for row in rows}


def quarantined(connection: Connection, slug: str) -> list[dict[str, Any]]:
    """The quarantine of an organisation, in order of arrival."""
    return connection.execute(
        "select q.* from public.quarantine q join public.organizations o on o.id = q.organization_id"
        " where o.slug = %s order by q.quarantined_at, q.file_name, q.line_number, q.record_key",
        (slug,),
    ).fetchall()


_STATE = {
    "orders": "select to_jsonb(t) - 'fetched_at' as row from public.orders t where t.organization_id = %s",
    "refunds": "select to_jsonb(t) - 'fetched_at' as row from public.refunds t where t.organization_id = %s",
    "customers": "select to_jsonb(t) as row from public.customers t where t.organization_id = %s",
    "hours": 'select jsonb_build_array(t.metric, t."timestamp", trim_scale(t.value)) as row'
    " from public.hourly_aggregates t where t.organization_id = %s",
    "days": "select jsonb_build_array(t.metric, t.date, trim_scale(t.value)) as row"
    " from public.daily_aggregates t where t.organization_id = %s",
}


def state(connection: Connection, organization_id: UUID) -> dict[str, list[str]]:
    """Everything that the pipeline knows of an organisation, except when it was fetched."""
    return {
        name: sorted(json.dumps(row["row"], sort_keys=True) for row in connection.execute(statement, (organization_id,)))
        for name, statement in _STATE.items()
    }


def forget(connection: Connection, organization_id: UUID) -> None:
    """Deletes everything of an organisation but itself and its sources, for the next example of a property."""
    for table in _TABLES:
        connection.execute(f"delete from public.{table} where organization_id = %s", (organization_id,))
    connection.commit()


_TABLES = (
    "orders",
    "refunds",
    "customers",
    "hourly_facts",
    "daily_facts",
    "cohort_analysis",
    "cohort_members",
    "cohort_persons",
    "cohort_visits",
    "cohort_orders",
    "partition_ledger",
    "raw_data_backup",
    "raw_page_digests",
    "quarantine",
)


def row_versions(connection: Connection, *, locks: bool = False) -> list[tuple[Any, ...]]:
    """Which transaction wrote each row (or, with locks, touched it), and where it lies: the same where nothing was written."""
    rows: list[tuple[Any, ...]] = []
    for table in _TABLES:
        found = connection.execute(f"select tableoid::text, ctid::text, xmin::text, xmax::text from public.{table}").fetchall()
        rows += [(table, *row.values())[: 5 if locks else 4] for row in found]
    return sorted(rows)
