"""What is erased stays erased when the same data comes again, and is counted as if nobody had been erased."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from analytics_assets.personal_data.erasure import erase
from analytics_assets.sql import query
from analytics_assets_tests.personal_data import people
from analytics_assets_tests.woocommerce import Connection, customer, order, take_in


def later_orders() -> list[dict[str, Any]]:
    """A newer version of her order, a new one of hers and one as a guest, one of his."""
    at = people.NOON + timedelta(days=4)
    return [
        order(1, people.NOON, "31.00", customer=7, modified=at, billing=people.HERS, customer_note="ring at the bell"),
        order(11, at, "9.00", customer=7, billing=people.HERS),
        order(12, at, "8.00", billing=people.HERS | {"email": people.SECOND_EMAIL}),
        order(13, at, "7.00", customer=8, billing=people.HIS),
        order(14, at, "Anneliese", customer=7, billing=people.HERS),
    ]


def send_late(connection: Connection, folder: Path, slug: str) -> None:
    """The same files, newer versions, and the same events as other messages."""
    pages = ("orders", people.orders()[:3]), ("customers", people.customers())
    for stream, page in pages:
        assert take_in(connection, folder, slug, stream, page).stored == 0
    take_in(connection, folder, slug, "orders", later_orders(), "and no page, of Anneliese@Private.example")
    newer = customer(7, people.EMAIL, people.NOON - timedelta(days=2), modified=people.NOON + timedelta(days=4))
    take_in(connection, folder, slug, "customers", [newer | {"first_name": "Anneliese", "billing": people.HERS}])
    people.send(connection, slug, *people.events("again-"))


def test_what_comes_again_is_nobodys_and_counts_as_hers(connection: Connection, tmp_path: Path) -> None:
    """One organisation has erased her and the other has not: the same late data makes the same figures in both."""
    acme, bolt = (people.fill(connection, tmp_path, slug) for slug in ("acme", "bolt"))
    assert erase(connection, "acme", [], [people.EMAIL]).counts
    for slug, organization in (("acme", acme), ("bolt", bolt)):
        send_late(connection, tmp_path, slug)
        people.compute(connection, organization)
    left = people.mentions(people.every_row(connection, acme), people.needles(acme))
    assert left == [], "\n".join(map(str, left))

    own = ("id", "organization_id", "data_source_id", "created_at", "updated_at")
    ours, theirs = (people.aggregates(connection, one, *own) for one in (acme, bolt))
    assert ours == theirs
    emptied = connection.execute(
        "select stream, level, reason, content_sha256 from public.quarantine where organization_id = %s and content is null",
        (acme,),
    ).fetchall()
    kept = connection.execute("select content_sha256 from public.quarantine where organization_id = %s", (bolt,)).fetchall()
    connection.commit()
    assert {(row["stream"], row["level"]) for row in emptied} == {("orders", "page"), ("orders", "record"), ("track", "event")}
    digests = {bytes(row["content_sha256"]) for row in emptied if row["level"] == "page"}
    assert digests <= {bytes(row["content_sha256"]) for row in kept} and len(digests) == 2


def test_an_id_that_is_used_by_somebody_else_does_not_tell_them_of_her(connection: Connection, tmp_path: Path) -> None:
    """Her device sold: who signs in there is a visitor of their own, and none of her events becomes theirs."""
    acme = people.fill(connection, tmp_path, "acme")
    erase(connection, "acme", [people.USER], [])
    who = {"userId": "carla-1", "anonymousId": people.DEVICE}
    at = (people.NOON + timedelta(days=5)).isoformat()
    people.send(connection, "acme", {"messageId": "c1", "type": "track", "event": "Product Viewed", "timestamp": at, **who})
    rows = connection.execute(
        "select visitor_id, anonymous_id from public.event_tracking where organization_id = %s and user_id = 'carla-1'", (acme,)
    ).fetchall()
    assert rows == [{"visitor_id": "carla-1", "anonymous_id": None}]
    linked = connection.execute(
        "select count(*) as n from public.event_identities where organization_id = %s and user_id = 'carla-1'", (acme,)
    ).fetchone()
    connection.commit()
    assert linked == {"n": 0}
    assert people.mentions(people.every_row(connection, acme), people.needles(acme)) == []


def test_a_live_sync_stores_her_as_nobody(connection: Connection, tmp_path: Path) -> None:
    """As a worker stores pages: of WooCommerce, and of Shopify, plain and of a bulk operation. The digest is that of what came."""
    acme = people.fill(connection, tmp_path, "acme")
    erase(connection, "acme", [], [people.EMAIL])
    hers = {"id": "gid://shopify/Order/91", "customer": {"id": "gid://shopify/Customer/501", "displayName": "Anneliese"}}
    his = {"id": "gid://shopify/Order/92", "customer": {"id": "gid://shopify/Customer/502", "displayName": "Bert"}}
    line = {"id": "gid://shopify/SalesAgreement/1", "__parentId": hers["id"]}
    pages: list[tuple[str, str, Any]] = [
        (
            "woocommerce",
            "orders",
            [order(21, people.NOON, customer=7, billing=people.HERS), order(22, people.NOON, billing=people.HIS)],
        ),
        ("shopify", "orders", {"data": {"orders": {"nodes": [hers, his]}}}),
        ("shopify", "orders", {"data": {"orders": {"edges": [{"node": hers}, {"node": his}]}}}),
        ("shopify", "bulk_orders", [hers, line, his]),
    ]
    connection.execute(query("stage_source_pages"))
    connection.execute(
        "update public.data_sources set lease_owner = id, lease_until = now() + interval '1 minute' where organization_id = %s",
        (acme,),
    )
    for slot, (source, stream, page) in enumerate(pages):
        connection.execute(
            "insert into pg_temp.source_pages select %s, organization_id, id, lease_owner, source_type, %s, %s, 'incremental', false, id, 1,"
            " true, now() - interval '1 hour', now(), null, null, now(), null, time_zone, currency, sha256(%s::text::bytea), 2,"
            " array[%s::timestamptz], array['x'], null, null, %s from public.data_sources where organization_id = %s and source_type = %s",
            (slot, stream, stream, f"{slot}", people.NOON, Jsonb(page), acme, source),
        )
    outcomes = connection.execute("select outcome from private.store_source_pages()").fetchall()
    connection.commit()
    assert [row["outcome"] for row in outcomes] == ["stored"] * len(pages)
    assert people.mentions(people.every_row(connection, acme), people.needles(acme)) == []
    stored = [
        row["page"]
        for row in connection.execute(
            "select raw_data as page from public.raw_data_backup where organization_id = %s and content_sha256 = any"
            " (select sha256(n::text::bytea) from generate_series(0, 3) n) order by content_sha256", (acme,)
        )
    ]  # fmt: skip
    token = connection.execute("select min(customer_id) as id from public.orders where order_id = '81'").fetchone()
    connection.commit()
    assert token is not None and len(stored) == len(pages)
    for page in stored:
        text = json.dumps(page)
        if "shopify" in text:
            assert json.dumps(his) in text and f"gid://shopify/Customer/{token['id']}" in text
    assert any(line in page for page in stored if isinstance(page, list))
