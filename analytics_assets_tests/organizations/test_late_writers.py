"""Whoever writes for an organisation while it is deleted, or after, writes nothing of it, and does not fail because of it.

A run reads its organisations first and computes afterwards. Of those that were deleted in between, hours, days, cohorts, orders
and events wrote the ledger anew, in rows that belonged to nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg.errors
import psycopg.sql
import pytest

from analytics_assets.database import connect
from analytics_assets.raw import importer
from analytics_assets.sql import query
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import store
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
# Every function of public that takes organisations, as the assets call it, with the asset that it closes in the ledger, in the
# order of the lineage. A test compares the list with the catalogue.
COMPUTE = {
    "ingest_orders": ("orders", "(%(ids)s, %(at)s, %(at)s + interval '2 hours')"),
    "register_raw_pages": ("raw_woocommerce", "('woocommerce', %(ids)s, %(at)s, %(at)s + interval '2 hours')"),
    "summarize_events": ("event_tracking", "(%(ids)s, %(at)s, %(at)s + interval '2 hours')"),
    "aggregate_hourly_data": ("hourly_aggregates", "(%(ids)s, %(at)s, %(at)s + interval '2 hours')"),
    "aggregate_daily_data": ("daily_aggregates", "(%(ids)s, %(at)s::date, %(at)s::date)"),
    "aggregate_cohorts": ("cohort_analysis", "(%(ids)s, %(at)s::date, %(at)s::date)"),
    "aggregate_funnels": ("funnel_analysis", "(%(ids)s, %(at)s::date, %(at)s::date)"),
}
_MARK = "select private.mark_stale_apart('orders', %s, array[now()]) as n"
_TABLES = """
    select n.nspname, c.relname, a.attname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('public', 'private')
    join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
        and a.attname = case when c.oid = 'public.organizations'::regclass then 'id' else 'organization_id' end
    where c.relkind in ('r', 'p') order by c.oid = 'public.organizations'::regclass, c.oid desc"""


def compute(connection: Connection, name: str, *organizations: UUID) -> list[dict[str, Any]]:
    """One row an organisation that had work; committed."""
    statement = psycopg.sql.SQL("select * from public.{}" + COMPUTE[name][1]).format(psycopg.sql.Identifier(name))
    found = connection.execute(statement, {"ids": list(organizations), "at": NOON}).fetchall()
    connection.commit()
    return found


def tables(connection: Connection) -> list[tuple[psycopg.sql.Identifier, psycopg.sql.Identifier]]:
    """Every table with rows of organisations and the column that says whose, organisations last; from the catalogue."""
    found = connection.execute(_TABLES).fetchall()
    return [(psycopg.sql.Identifier(row["nspname"], row["relname"]), psycopg.sql.Identifier(row["attname"])) for row in found]


def left(connection: Connection, organization: UUID) -> dict[str, int]:
    """Rows of an organisation by table, where there are any."""
    counts = {}
    for table, column in tables(connection):
        statement = psycopg.sql.SQL("select count(*) as n from {} where {} = %s").format(table, column)
        row = connection.execute(statement, (organization,)).fetchone()
        counts[table.as_string()] = row["n"] if row else 0
    connection.rollback()
    return {name: count for name, count in counts.items() if count}


def delete(connection: Connection, organization: UUID) -> None:
    """All of an organisation in one transaction, which stays open."""
    connection.execute("select private.seize_organization(%s)", (organization,))
    for table, column in tables(connection):
        connection.execute(psycopg.sql.SQL("delete from {} where {} = %s").format(table, column), (organization,))


def with_history(connection: Connection, slug: str, folder: Path) -> UUID:
    """An organisation with orders and events of that noon, none of them computed yet."""
    organization = add_organization(connection, slug)
    take_in(connection, folder, slug, "orders", [order(number, NOON, "10.50", customer=number) for number in (1, 2)])
    store(connection, [Message(f"{slug}{number}", NOON, organization, user=f"u{number}") for number in range(3)])
    return organization


def while_deleted(connection: Connection, organization: UUID, write: Callable[[Connection], Any]) -> Any:
    """What a writer returns that waits for its turn while the organisation is deleted."""
    delete(connection, organization)
    results: list[Any] = []

    def work() -> None:
        with connect() as other:
            try:
                results.append(write(other))
            except Exception as error:
                results.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    until = time.monotonic() + 60
    with connect(autocommit=True) as watching:
        # By the turn, or by the organisation's row.
        while not watching.execute("select from pg_locks where not granted").fetchall():
            assert not results and time.monotonic() < until, results
            time.sleep(0.01)
    connection.commit()
    writer.join(60)
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def test_the_list_of_functions_is_whole(connection: Connection) -> None:
    """One that is added later has to be added here."""
    found = connection.execute(
        "select distinct proname::text as name from pg_proc where pronamespace = 'public'::regnamespace and provolatile = 'v'"
        " and 'organization_ids' = any (proargnames)"
    ).fetchall()
    assert {row["name"] for row in found} == set(COMPUTE)


def test_nothing_is_computed_for_who_is_gone(connection: Connection) -> None:
    """Its id was read before; with it the run goes on."""
    nobody = uuid4()
    for name in COMPUTE:
        compute(connection, name, nobody)
    connection.execute("select private.mark_stale('orders', %s, array[now()])", ([nobody],))
    connection.execute("select private.mark_stale_apart('orders', %s, array[now()])", ([nobody],))
    connection.commit()
    assert store(connection, [Message("late", NOON, nobody, user="u")]) == (0, 0)
    assert left(connection, nobody) == {}


@pytest.mark.parametrize("name", COMPUTE)
def test_a_run_that_waits_while_one_of_its_organisations_is_deleted(connection: Connection, tmp_path: Path, name: str) -> None:
    """It computes the other one."""
    ours, theirs = with_history(connection, "acme", tmp_path), with_history(connection, "bolt", tmp_path)
    for earlier in list(COMPUTE)[: list(COMPUTE).index(name)]:
        compute(connection, earlier, ours, theirs)
    assert len(left(connection, ours)) > 8
    found = while_deleted(connection, ours, lambda other: compute(other, name, ours, theirs))
    assert {row["organization_id"] for row in found} <= {theirs}
    done = connection.execute(
        "select count(*) as n from public.partition_ledger where organization_id = %s and asset = %s and status <> 'stale'",
        (theirs, COMPUTE[name][0]),
    ).fetchone()
    assert done is not None and done["n"] > 0
    assert left(connection, ours) == {}


def test_a_batch_of_the_collector_that_waits_meanwhile(connection: Connection) -> None:
    """The events of the other organisation are stored; those of the one that is gone count as nothing."""
    ours, theirs = add_organization(connection, "acme"), add_organization(connection, "bolt")
    batch = [Message(f"{number}", NOON, (ours, theirs)[number % 2], user="u") for number in range(5)]
    assert while_deleted(connection, ours, lambda other: store(other, batch)) == (2, 0)
    assert left(connection, ours) == {} and left(connection, theirs)['"public"."event_tracking"'] == 2


def test_rejected_events_are_kept_of_who_is_there(connection: Connection) -> None:
    """Waiting for the row of the one that is just being deleted."""
    ours, theirs = add_organization(connection, "acme"), add_organization(connection, "bolt")
    values = {
        "organization_ids": [ours, theirs], "streams": ["track"] * 2, "record_keys": ["1", "2"], "fields": ["userId"] * 2,
        "reasons": ["none"] * 2, "contents": [b"{}", b"{}"],
    }  # fmt: skip

    def reject(other: Connection) -> None:
        other.execute(query("quarantine_events"), values)
        other.commit()

    while_deleted(connection, ours, reject)
    assert left(connection, ours) == {} and left(connection, theirs)['"public"."quarantine"'] == 1


def test_an_import_says_that_its_organisation_is_gone(connection: Connection, tmp_path: Path) -> None:
    """Pages and broken pages alike: nothing of them is kept."""
    ours = add_organization(connection, "acme")
    target = importer.open_target(connection, "acme", "woocommerce", "orders")
    for name, text in (("good.jsonl", '[{"id": 1, "date_created_gmt": "2026-01-01T00:00:00"}]'), ("bad.jsonl", "no page")):
        (tmp_path / name).write_text(text + "\n")
    delete(connection, ours)
    connection.commit()
    for name in ("good.jsonl", "bad.jsonl"):
        with pytest.raises(importer.ImportRefused, match="was deleted"):
            importer.import_files(connection, target, [tmp_path / name])
    assert left(connection, ours) == {}


def test_rates_mark_nothing_of_who_is_just_deleted(connection: Connection) -> None:
    """Marks made without a turn wait for the organisation's row."""
    ours = add_organization(connection, "acme")
    marked = while_deleted(connection, ours, lambda other: other.execute(_MARK, ([ours],)).fetchone())
    assert marked == {"n": 0} and left(connection, ours) == {}


def test_a_deletion_never_waits_for_who_holds_the_organisation(connection: Connection) -> None:
    """Who holds it may be waiting for a turn that the deletion has: it gives way, and comes again."""
    ours = add_organization(connection, "acme")
    connection.execute("select private.hold_organizations(%s)", ([ours],))
    with connect() as other:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("select private.seize_organization(%s)", (ours,))
        other.rollback()
        connection.commit()
        other.execute("select private.seize_organization(%s)", (ours,))


def test_a_turn_that_deletion_does_not_know_is_refused(connection: Connection) -> None:
    """Its writers would write behind it."""
    with pytest.raises(psycopg.errors.RaiseException, match="no turn naps"):
        connection.execute("select private.lock_organizations('naps', %s)", ([uuid4()],))
