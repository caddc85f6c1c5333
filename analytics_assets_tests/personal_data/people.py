"""Two organisations that know the same person, and others beside her: from stores' pages and from a website's events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

import httpx
import psycopg.sql
from psycopg.types.json import Jsonb

from analytics_assets.funnels.definitions import Funnel
from analytics_assets.funnels.registry import store
from analytics_assets.sql import SQL_ROOT, query
from analytics_assets_tests.events.serving import Caller, make_key, serving
from analytics_assets_tests.woocommerce import Connection, customer, order, refund, take_in

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=9)
FIRST, LAST = NOON - timedelta(days=3), NOON + timedelta(days=9)
EMAIL, SECOND_EMAIL = "Anneliese@Private.example", "anne.work@private.example"
USER, DEVICE, PHONE = "user-anneliese-77", "device-5b1e7c", "device-0a44d1"
WORDS = ("Anneliese", "Quellenweg", "Musterfrau", "4930901820", "203.0.113.77", "ring at the bell", USER, DEVICE, PHONE,
         "mysession-4471", "Liese-Fox/5.0")  # fmt: skip
#: What aggregates are read from, and what they are.
AGGREGATES = ("hourly_facts", "daily_facts", "metric_observations", "cohort_analysis", "funnel_analysis")
# Her numbers at the stores, as rows and pages say them.
_NUMBERS = (
    'id:7"',
    'id:70"',
    'id:501"',
    '"customer_id": "7"',
    '"customer_id": "501"',
    '"customer_id": 7,',
    '"id": 70,',
    "customer/501",
)
_DERIVED = ("cohort_members", "cohort_persons", "cohort_visits", "cohort_orders", "cohort_state", *AGGREGATES)


def needles(organization: UUID) -> list[str]:
    """Everything that must not be found after an erasure."""
    hashes = [_hashed(organization, email) for email in (EMAIL, SECOND_EMAIL)]
    return [*WORDS, *_NUMBERS, EMAIL, SECOND_EMAIL, *hashes]


def address(first: str, last: str, street: str, email: str, phone: str = "") -> dict[str, str]:
    """A billing address as a WooCommerce store has it."""
    return {"first_name": first, "last_name": last, "address_1": street, "email": email, "phone": phone}


HERS = address("Anneliese", "Musterfrau", "Quellenweg 3", EMAIL, "+4930901820")
HIS = address("Bert", "Other", "Hauptstrasse 1", "bert@else.example", "+49301111")


def orders() -> list[dict[str, Any]]:
    """Hers as customer 7 and as a guest, one of his; each with what a store adds."""
    private: dict[str, Any] = {"customer_ip_address": "203.0.113.77", "customer_note": "ring at the bell",
               "meta_data": [{"key": "_billing_vat", "value": "Musterfrau"}]}  # fmt: skip
    return [
        order(1, NOON, "30.00", customer=7, billing=HERS, **private) | {"shipping": HERS},
        order(2, NOON + timedelta(days=1), "20.00", billing=HERS | {"email": EMAIL.upper()}, **private),
        order(3, NOON, "50.00", customer=8, billing=HIS, customer_note=f'a present,\n{EMAIL}. "{SECOND_EMAIL}"'),
        order(4, NOON + timedelta(days=2), "12.00", customer=8, billing=HIS),
        order(5, NOON + timedelta(days=2), "5.00", customer=7, billing=HERS | {"email": SECOND_EMAIL}, status="refunded"),
        # Broken: waits in quarantine, with all that it says.
        order(6, NOON + timedelta(days=2), "Musterfrau owes", customer=7, billing=HERS, **private),
    ]


def customers() -> list[dict[str, Any]]:
    """Customers 7 and 70 have her address, 8 has his."""
    return [
        customer(7, EMAIL, NOON - timedelta(days=2)) | {"first_name": "Anneliese", "billing": HERS},
        customer(70, EMAIL, NOON - timedelta(days=1)) | {"username": "musterfrau"},
        customer(8, "bert@else.example", NOON - timedelta(days=2)) | {"first_name": "Bert", "billing": HIS},
    ]


def events(run: str = "") -> Iterator[dict[str, Any]]:
    """Visits before and after she is known, on two devices; his; purchases; one that is refused. run: makes other messages."""

    def one(number: int, minutes: int, **fields: Any) -> dict[str, Any]:
        at = NOON + timedelta(minutes=minutes)
        context = {"userAgent": "Liese-Fox/5.0" if "bert" not in json.dumps(fields) else "Bert-Fox/1.0", "ip": "203.0.113.77"}
        return {
            "messageId": f"m{run}{number}",
            "timestamp": at.isoformat(),
            "context": context | fields.pop("context", {}),
            **fields,
        }

    page = f"https://shop.example/account/{USER}/orders?token=musterfrau&email={EMAIL}"
    her = {"anonymousId": DEVICE, "userId": USER}
    yield one(1, 0, type="page", anonymousId=DEVICE, properties={"url": page, "label": "Musterfrau"})
    yield one(
        2, 5, type="track", event="Product Viewed", anonymousId=DEVICE, properties={"category": "shoes", "for": "Anneliese"}
    )
    yield one(3, 9, type="identify", **her, traits={"email": EMAIL, "name": "Anneliese", "createdAt": NOON.isoformat()})
    yield one(
        4,
        12,
        type="track",
        event="Order Completed",
        **her,
        properties={"revenue": 30, "category": "shoes", "address": "Quellenweg 3"},
    )
    yield one(
        5, 60 * 30, type="track", event="Product Viewed", anonymousId=PHONE, userId=USER, context={"sessionId": "mysession-4471"}
    )
    yield one(6, 60 * 30 + 50, type="page", anonymousId=PHONE, context={"sessionId": "mysession-4471"}, properties={"url": page})
    yield one(7, 60 * 52, type="identify", userId=EMAIL, traits={"email": SECOND_EMAIL}, anonymousId=DEVICE)
    yield one(8, 60 * 53, type="track", event="Order Completed", userId=EMAIL, properties={"revenue": 7})
    # Just now: live eyes see her.
    yield one(9, 0, type="page", userId=USER, properties={"url": page}) | {"timestamp": datetime.now(UTC).isoformat()}
    bert = {"userId": "bert-9", "anonymousId": "device-bert"}
    yield one(20, 3, type="page", **bert, properties={"url": "https://shop.example/cart?x=1", "label": "bert"})
    yield one(21, 4, type="track", event="Product Viewed", **bert, properties={"category": "shoes"})
    yield one(22, 8, type="track", event="Order Completed", **bert, properties={"revenue": 50})
    yield one(23, 60 * 31, type="identify", **bert, traits={"email": "bert@else.example"})
    # Refused, and set aside.
    yield one(30, 70, type="track", **her, properties={"name": "Anneliese"})


_ORDER = {"name": "Order", "event": "Order Completed"}
_STEPS: dict[str, tuple[dict[str, Any], ...]] = {
    "shoes": ({"name": "View", "event": "Product Viewed", "properties": {"category": "shoes"}}, _ORDER),
    "account": ({"name": "Account", "page": "https://shop.example/account/*token=*"}, _ORDER),
    "path": ({"name": "Page", "page": "/account/*"}, {"name": "View", "event": "Product Viewed"}),
}


def send(connection: Connection, slug: str, *messages: dict[str, Any]) -> None:
    """Over loopback, as a website does it; refused events are set aside."""
    with serving() as base, httpx.Client(timeout=30) as client:
        answer = Caller(base, make_key(connection, slug, "Europe/Berlin", "EUR"), client).send(*messages)
        assert answer.status_code == 200, answer.text


def _hashed(organization: UUID, email: str) -> str:
    return hashlib.sha256(f"{organization}:{email.lower()}".encode()).hexdigest()


def _id_of(slug: str) -> UUID:
    """An id with which the hash of her first address is the lower one: the same in each organisation, so that they compare."""
    ids = (uuid5(NAMESPACE_DNS, f"{slug}-{number}") for number in range(100))
    return next(one for one in ids if _hashed(one, EMAIL) < _hashed(one, SECOND_EMAIL))


def fill(connection: Connection, folder: Path, slug: str) -> UUID:
    """An organisation with all of that; its pages taken in, and everything computed."""
    organization = _id_of(slug)
    connection.execute(
        "insert into public.organizations (id, slug, name, time_zone, currency) values (%s, %s, %s, 'Europe/Berlin', 'EUR')",
        (organization, slug, slug),
    )
    connection.commit()
    make_key(connection, slug, "Europe/Berlin", "EUR")
    for name, steps in _STEPS.items():
        store(connection, slug, Funnel(name, "user", timedelta(days=2), steps))
    take_in(connection, folder, slug, "orders", orders()[:3], orders()[3:], "no page of anything, but Anneliese@private.example")
    take_in(connection, folder, slug, "customers", customers())
    take_in(
        connection,
        folder,
        slug,
        "refunds",
        [
            refund(9, NOON + timedelta(days=3), "5.00", parent=5) | {"reason": "Musterfrau sent it back"},
            refund(10, NOON + timedelta(days=3), "2.00", parent=2, shipping="1.00") | {"reason": "Anneliese moved"},
            refund(19, NOON + timedelta(days=3), "4.00", parent=4) | {"reason": "Bert moved"},
        ],
    )
    add_shopify(connection, organization)
    send(connection, slug, *events())
    compute(connection, organization)
    return organization


def add_shopify(connection: Connection, organization: UUID) -> None:
    """A page of a Shopify store, in which she is customer 501."""
    money = {"shopMoney": {"amount": "40.0", "currencyCode": "EUR"}}
    at = (NOON + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    nodes = [
        {
            "id": f"gid://shopify/Order/{number}", "processedAt": at, "updatedAt": at, "test": False, "currencyCode": "EUR",
            "displayFinancialStatus": "PAID", "customer": {"id": f"gid://shopify/Customer/{who}"} | more,
            "totalPriceSet": money, "agreements": {"nodes": [{
                "id": f"gid://shopify/SalesAgreement/{number}", "happenedAt": at, "reason": "ORDER", "sales": {"nodes": [{
                    "id": f"gid://shopify/ProductSale/{number}", "actionType": "ORDER", "lineType": "PRODUCT", "quantity": 1,
                    "totalAmount": money}]}}]},
        }
        for number, who, more in ((81, 501, {"displayName": "Anneliese Musterfrau"}), (82, 502, {"displayName": "Bert"}))
    ]  # fmt: skip
    (source,) = connection.execute(
        "insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)"
        " values (%s, 'shopify', 'boutique', 'Europe/Berlin', 'EUR') returning id",
        (organization,),
    ).fetchall()
    connection.execute("select private.ensure_partitions('raw_data_backup', %s, %s + interval '1 us')", (NOON, NOON))
    connection.execute(
        "insert into public.raw_data_backup (organization_id, fetched_at, window_start, window_end, data_source_id, source, stream,"
        " content_sha256, raw_data) values (%s, %s, %s, %s, %s, 'shopify', 'orders', sha256('x'), %s)",
        (organization, NOON, FIRST, LAST, source["id"], Jsonb({"data": {"orders": {"nodes": nodes}}})),
    )
    # The store knows no addresses: the site's id is the store's.
    connection.execute(
        "insert into public.customers (organization_id, data_source_id, customer_key, customer_id, email_hash, channel_id)"
        " values (%s, %s, 'id:501', '501', private.email_hash(%s, %s), 4)",
        (organization, source["id"], organization, EMAIL),
    )
    connection.commit()


def compute(connection: Connection, organization: UUID) -> None:
    """Everything that is due, as the assets call it; quiet days too."""
    ids, days = [organization], (FIRST.date(), LAST.date())
    for function in ("ingest_orders", "summarize_events", "aggregate_hourly_data"):
        connection.execute(psycopg.sql.SQL("select count(*) from public.{}(%s, %s, %s)").format(psycopg.sql.Identifier(function)),
                           (ids, FIRST, LAST))  # fmt: skip
        connection.commit()
    for function in ("aggregate_daily_data", "aggregate_cohorts", "aggregate_funnels"):
        connection.execute(psycopg.sql.SQL("select count(*) from public.{}(%s, %s, %s)").format(psycopg.sql.Identifier(function)),
                           (ids, *days))  # fmt: skip
        connection.commit()


def mark_everything(connection: Connection, organization: UUID) -> None:
    """Every bucket is due again, and every page is to be taken in again."""
    connection.execute(
        "update public.partition_ledger set status = 'stale', error = null, input_version = input_version + 1 where organization_id = %s",
        (organization,),
    )
    connection.execute("update public.raw_data_backup set processed = false where organization_id = %s", (organization,))
    connection.commit()


def forget_derived(connection: Connection, organization: UUID) -> None:
    """Nothing is left but pages, events and what comes of them; everything is due."""
    for table in (*_DERIVED, "orders", "order_sales", "refunds"):
        connection.execute(
            psycopg.sql.SQL("delete from public.{} where organization_id = %s").format(psycopg.sql.Identifier(table)),
            (organization,),
        )
    mark_everything(connection, organization)


def aggregates(connection: Connection, organization: UUID, *left_out: str) -> dict[str, list[str]]:
    """The rows of the aggregates, whole but for columns that are left out."""
    return {
        table: [
            row["row"]
            for row in connection.execute(
                psycopg.sql.SQL("select (to_jsonb(t) - %s::text[])::text as row from public.{} t where organization_id = %s order by 1").format(
                    psycopg.sql.Identifier(table)), (list(left_out), organization))
        ]
        for table in AGGREGATES
    }  # fmt: skip


def complaints(connection: Connection, slug: str) -> dict[str, list[Any]]:
    """What the asset checks find, by query."""
    values = {"keys": [slug], "start": FIRST, "end": LAST, "most": 1000, "source": "woocommerce", "asset": "orders", "budget": 10}
    names = sorted(file.stem for file in (SQL_ROOT / "queries").glob("check_*.sql"))
    found = {name: connection.execute(query(name), values).fetchall() for name in names if "data_sources" not in name}
    connection.commit()
    # What is in quarantine stays so, and what failed; the reason quoted the person.
    for row in (*found["check_raw_nothing_set_aside"], *found["check_ledger_no_failed_partitions"]):
        del row["problem"]
    return found


def every_row(connection: Connection, organization: UUID | None = None) -> list[tuple[str, str]]:
    """(table, row as text with where it lies and who wrote it) of everything in public, private and partitions."""
    tables = connection.execute(
        "select c.oid::regclass::text as name, exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id'"
        " and not a.attisdropped) as is_tenants from pg_class c where c.relkind = 'r' and c.relnamespace::regnamespace::text in"
        " ('public', 'private', 'partitions') order by 1"
    ).fetchall()
    found: list[tuple[str, str]] = []
    for table in tables:
        if organization is not None and not table["is_tenants"]:
            continue
        where = "where t.organization_id = %s" if organization is not None else ""
        statement = psycopg.sql.SQL(
            f"select concat_ws(' ', t.ctid, t.xmin, to_jsonb(t)::text) as row from {table['name']} t {where}"
        )
        cursor = connection.execute(statement, (organization,) if organization is not None else None)
        found += [(table["name"], row["row"]) for row in cursor]
    connection.commit()
    return found


def mentions(rows: list[tuple[str, str]], words: list[str]) -> list[tuple[str, str, str]]:
    """(table, word, row) wherever a word stands: in clear, or in the bytes of a bytea."""
    sought = [(word, form) for word in words for form in (word.lower(), word.encode().hex(), word.lower().encode().hex())]
    return [(table, word, row) for table, row in rows for word, form in sought if form in row.lower()]
