"""Random histories of shops and visitors, written into the source tables as the pipeline leaves them."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import psycopg.sql
from psycopg.types.json import Jsonb

from analytics_assets_tests.cohorts.model import Cell, Customer, Facts, Order, Visitor
from analytics_assets_tests.woocommerce import Connection

SOURCES = ("woocommerce", "shopify")
_CHANNELS = {"woocommerce": 3, "shopify": 4}
_KEPT = [
    "cohort_analysis",
    "cohort_members",
    "cohort_persons",
    "cohort_visits",
    "cohort_orders",
    "cohort_state",
    "partition_ledger",
]
_TABLES = [*["orders", "refunds", "order_sales", "customers", "visitors", "visitor_days", "event_tracking"], *_KEPT]


def clear(connection: Connection) -> None:
    """Empties every table that a history fills, and what comes of it."""
    connection.rollback()
    for table in _TABLES:
        connection.execute(f"delete from public.{table}")


def source_id(organization: uuid.UUID, source: str) -> uuid.UUID:
    """Id of an organisation's only source of that type."""
    return uuid.uuid5(organization, source)


def add_sources(connection: Connection, organization: uuid.UUID) -> None:
    """A WooCommerce and a Shopify store."""
    for source in SOURCES:
        connection.execute(
            "insert into public.data_sources (organization_id, id, source_type, source_name, time_zone, currency)"
            " values (%s, %s, %s, 'store', 'UTC', 'EUR')",
            (organization, source_id(organization, source), source),
        )


def _hash(email: str | None) -> bytes | None:
    return email.encode() if email else None


@dataclass
class World:
    """One organisation's facts, and the tables that say the same. Every change returns the days that it touches, which
    are those that the pipeline marks."""

    connection: Connection
    id: uuid.UUID
    facts: Facts
    dirty: set[date] = field(default_factory=set)

    def put_order(self, number: str, order: Order) -> None:
        """A new order, or a newer version of one; its refunds and sales are touched with it."""
        old = self.facts.orders.get(number)
        self.facts.orders[number] = order
        self.dirty |= {self.facts.day(o.at) for o in (order, old) if o}
        self.dirty |= {self.facts.day(r[1]) for r in (*self.facts.refunds.values(), *self.facts.sales.values()) if r[0] == number}
        self.connection.execute(
            """
            insert into public.orders (organization_id, data_source_id, bucket_at, occurred_at, placed_at, modified_at, fetched_at,
                channel_id, is_counted, currency, order_id, status, customer_key, items_sold, gross_sales, discounts, shipping,
                taxes, total, content_md5, cancelled_at)
            values (%(org)s, %(source)s, date_trunc('hour', %(at)s), %(at)s, %(at)s, now(), now(), %(channel)s, %(counted)s,
                %(currency)s, %(number)s, 'x', %(customer)s, 1, %(total)s, 0, 0, 0, %(total)s, gen_random_uuid(), %(cancelled)s)
            on conflict (organization_id, data_source_id, order_id) do update set bucket_at = excluded.bucket_at,
                occurred_at = excluded.occurred_at, is_counted = excluded.is_counted, customer_key = excluded.customer_key,
                total = excluded.total, cancelled_at = excluded.cancelled_at, currency = excluded.currency""",
            {
                "org": self.id,
                "source": source_id(self.id, order.source),
                "at": order.at,
                "channel": _CHANNELS[order.source],
                "counted": order.counted,
                "currency": order.currency,
                "number": number,
                "customer": order.customer,
                "total": order.total,
                "cancelled": order.cancelled,
            },
        )

    def put_refund(self, number: str, order: str | None, at: datetime, amount: Decimal) -> None:
        """A refund of WooCommerce; of an unknown order where there is none."""
        self.facts.refunds[number] = order, at, amount
        self.dirty.add(self.facts.day(at))
        self._touch_order_of(order)
        self.connection.execute(
            "insert into public.refunds values (%s, %s, date_trunc('hour', %s), %s, now(), 3, 'EUR', %s, %s, %s, 0, 0, 0,"
            " gen_random_uuid())",
            (self.id, source_id(self.id, "woocommerce"), at, at, number, order, amount),
        )

    def put_sale(self, number: str, order: str, at: datetime, amount: Decimal) -> None:
        """A sale, or a return, of a Shopify order."""
        self.facts.sales[number] = order, at, amount
        self.dirty.add(self.facts.day(at))
        self._touch_order_of(order)
        self.connection.execute(
            "insert into public.order_sales values (%s, %s, date_trunc('hour', %s), %s, 4, true, 'EUR', %s, %s, '1', 'ORDER', 'X',"
            " 'PRODUCT', 1, %s, 0, 0)",
            (self.id, source_id(self.id, "shopify"), at, at, number, order, amount),
        )

    def _touch_order_of(self, order: str | None) -> None:
        if order in self.facts.orders:
            self.dirty.add(self.facts.day(self.facts.orders[order].at))

    def put_customer(self, source: str, key: str, customer: Customer) -> None:
        """A store's record of a customer."""
        old = self.facts.customers.get((source, key))
        self.facts.customers[source, key] = customer
        self.dirty |= {self.facts.day(c.registered) for c in (old, customer) if c and c.registered}
        self.connection.execute(
            "insert into public.customers (organization_id, data_source_id, customer_key, customer_id, email_hash, registered_at,"
            " channel_id) values (%s, %s, %s, %s, %s, %s, %s) on conflict (organization_id, data_source_id, customer_key)"
            " do update set email_hash = excluded.email_hash, registered_at = excluded.registered_at",
            (
                self.id,
                source_id(self.id, source),
                key,
                customer.customer_id,
                _hash(customer.email),
                customer.registered,
                _CHANNELS[source],
            ),
        )

    def put_visitor(self, visitor_id: str, visitor: Visitor | None) -> None:
        """A visitor with all their visits; None: they are somebody else now."""
        for known in (self.facts.visitors.pop(visitor_id, None), visitor):
            if known:
                self.dirty |= {self.facts.day(at) for at in known.visits}
        for table in ("visitors", "visitor_days"):
            self.connection.execute(
                f"delete from public.{table} where organization_id = %s and visitor_id = %s", (self.id, visitor_id)
            )
        if visitor is None:
            return
        self.facts.visitors[visitor_id] = visitor
        self.connection.execute(
            "insert into public.visitors values (%s, %s, %s, %s, %s, %s)",
            (self.id, min(visitor.visits), visitor.signed_up, visitor_id, visitor.user, _hash(visitor.email)),
        )
        for day in {self.facts.day(at) for at in visitor.visits}:
            self._ensure("visitor_days", day)
            self.connection.execute("insert into public.visitor_days values (%s, %s, %s)", (self.id, day, visitor_id))

    def put_purchase(self, number: str, user: str, at: datetime, name: str, amount: Decimal) -> None:
        """An Order Completed or Order Refunded of a known user."""
        self.facts.purchases[number] = user, at, name, amount
        self.dirty.add(self.facts.day(at))
        self._ensure("event_tracking", at.date())
        self.connection.execute(
            'insert into public.event_tracking (organization_id, "timestamp", event_value, session_id, visitor_id, user_id,'
            " event_name, metadata) values (%s, %s, %s, 's', %s, %s, %s, %s)",
            (self.id, at, amount, user, user, name, Jsonb({})),
        )

    def _ensure(self, table: str, day: date) -> None:
        self.connection.execute("select private.ensure_partitions(%s, %s::date, %s::date + 1)", (table, day, day))

    def take_dirty(self) -> set[date]:
        """The days touched since the last call, marked in the ledger."""
        found, self.dirty = self.dirty, set()
        self.connection.execute(
            "select private.mark_stale('cohort_analysis', array_agg(%s::uuid), array_agg(d::timestamp at time zone 'UTC'))"
            " from unnest(%s::date[]) d",
            (self.id, sorted(found)),
        )
        return found


def compute(connection: Connection, ids: Iterable[uuid.UUID], first: date, last: date) -> list[dict[str, Any]]:
    """The function, as the asset calls it."""
    rows = connection.execute("select * from public.aggregate_cohorts(%s, %s, %s)", (list(ids), first, last)).fetchall()
    connection.execute("commit")
    return rows


def set_today(connection: Connection, day: date) -> None:
    """Stops the clock of cohorts on a day, in all zones."""
    statement = psycopg.sql.SQL(
        "create or replace function private.cohort_today(time_zone text) returns date language sql stable"
        " set search_path = '' as $$ select date {} $$"
    ).format(psycopg.sql.Literal(day.isoformat()))
    connection.execute(statement)
    connection.execute("commit")


def versions(connection: Connection) -> list[tuple[Any, ...]]:
    """Which transaction wrote each row of cohorts, and where it lies: the same where nothing was written."""
    rows: list[tuple[Any, ...]] = []
    for table in _KEPT:
        found = connection.execute(f"select ctid::text, xmin::text, xmax::text from public.{table}").fetchall()
        rows += [(table, *row.values()) for row in found]
    return sorted(rows)


def load(connection: Connection, organization: uuid.UUID, facts: Facts, random: Random) -> World:
    """Facts into empty tables, in another order."""
    world = World(connection, organization, Facts(facts.zone, facts.currency))
    steps: list[Callable[[], None]] = []
    steps += [partial(world.put_order, *item) for item in facts.orders.items()]
    steps += [partial(world.put_refund, number, *rest) for number, rest in facts.refunds.items()]
    steps += [partial(world.put_sale, number, *rest) for number, rest in facts.sales.items()]
    steps += [partial(world.put_customer, *key, customer) for key, customer in facts.customers.items()]
    steps += [partial(world.put_visitor, *item) for item in facts.visitors.items()]
    steps += [partial(world.put_purchase, number, *rest) for number, rest in facts.purchases.items()]
    random.shuffle(steps)
    for step in steps:
        step()
    return world


def table_cells(connection: Connection, organization: uuid.UUID) -> dict[tuple[str, str, date, int], Cell]:
    """cohort_analysis of an organisation as the model gives it."""
    rows = connection.execute("select * from public.cohort_analysis where organization_id = %s", (organization,)).fetchall()
    return {
        (row["cohort_type"], row["period_type"], row["cohort_date"], row["period_number"]): Cell(
            row["cohort_size"], row["active_users"], row["retention_rate"], row["revenue"], row["is_complete"]
        )
        for row in rows
    }
