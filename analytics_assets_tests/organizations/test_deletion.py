"""An organisation deleted: nothing of it is left in any table, everything of the others is."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.database import connect
from analytics_assets.instance import sync_organizations
from analytics_assets.organizations import deletion
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.partition_keys import ORGANIZATION
from analytics_assets_tests.organizations.tenants import add_tenant, rows_by_table
from analytics_assets_tests.test_cli import done, refused
from analytics_assets_tests.woocommerce import Connection


@pytest.fixture(autouse=True)
def _no_collector_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """None that would have to hear of revoked keys."""
    monkeypatch.setattr(deletion, "_KEYS_ARE_KNOWN_SECONDS", 0.0)


def test_nothing_is_left_of_it_and_everything_of_the_other(connection: Connection, instance: Any) -> None:
    """Counted over the whole catalogue, tables that were added a moment ago too; asked for by typing the slug. An application's
    tables in schema public, which deletion emptied of the organisation's rows as well, keep theirs."""
    connection.execute("create table public.invoices (organization_id uuid, paid boolean)")
    connection.execute("create table private.added_later (organization_id uuid not null, note text)")
    ours, theirs = add_tenant(connection, "acme"), add_tenant(connection, "bolt")
    connection.execute("insert into private.added_later select unnest(%s::uuid[]), 'x'", ([ours, theirs],))
    connection.execute("insert into public.invoices select unnest(%s::uuid[]), true", ([ours, theirs],))
    connection.commit()
    parents = [row["table_name"] for row in connection.execute("select table_name from private.tenant_tables()").fetchall()]
    before, others = rows_by_table(connection, ours), rows_by_table(connection, theirs)
    assert before == others and "private.added_later" in parents and "public.invoices" not in parents
    assert not [name for name in parents if not before[name.removeprefix("public.")]], "give it a row in tenants.py"
    sync_organizations(instance)
    connection.commit()

    def delete(*arguments: str, typed: str = "") -> Any:
        return CliRunner().invoke(app, ["organizations", "delete", *arguments], input=typed)

    shown = delete("acme", "--dry-run")
    assert shown.exit_code == 0 and "public.hourly_facts" in shown.output and "private.added_later" in shown.output
    assert delete("acme", typed="bolt\n").exit_code == 1
    assert rows_by_table(connection, ours) == before
    connection.commit()
    result = delete("acme", typed="acme\n")
    assert result.exit_code == 0, result.output
    left = rows_by_table(connection, ours)
    assert {name: count for name, count in left.items() if count} == {"invoices": 1}
    assert rows_by_table(connection, theirs) == others
    assert list(instance.get_dynamic_partitions(ORGANIZATION)) == ["bolt"]
    assert delete("acme", "--yes").exit_code == 1


_KILLED = """
import sys, time
from uuid import UUID
from analytics_assets.database import connect
from analytics_assets.organizations import deletion
deletion._KEYS_ARE_KNOWN_SECONDS = 0
def halt(table, done, of):
    if table == sys.argv[2]:
        print("there", flush=True)
        time.sleep(60)
with connect() as connection:
    deletion.delete(connection, UUID(sys.argv[1]), halt)
"""


def test_killed_in_the_middle_it_goes_on_when_called_again(connection: Connection) -> None:
    """Between two tables, and while it waits within a transaction: closed at once, its rows gone after the next call."""
    ours, theirs = add_tenant(connection, "acme"), add_tenant(connection, "bolt")
    others = rows_by_table(connection, theirs)
    connection.commit()
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(ours), "public.hourly_facts"], env=os.environ.copy(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    left = rows_by_table(connection, ours)
    assert left["organizations"] == 1 and left["hourly_facts"] == 0 and left["orders"] == 1 and left["daily_facts"] == 0
    state = connection.execute(
        """select o.is_active, (select count(*) from public.data_sources s where s.organization_id = o.id and s.is_active) as sources
           from public.organizations o where o.id = %s""",
        (ours,),
    ).fetchone()
    assert state == {"is_active": False, "sources": 0}
    connection.commit()

    # A writer has the organisation's turn: deletion waits within a transaction, and is killed there.
    connection.execute("select private.lock_organizations('hourly', array[%s]::uuid[])", (ours,))
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(ours), "-"], env=os.environ.copy())
    with connect(autocommit=True) as watching:
        deadline = time.monotonic() + 60
        waiting = "select from pg_locks where locktype = 'advisory' and not granted"
        while not watching.execute(waiting).fetchall() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert watching.execute(waiting).fetchall()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    connection.rollback()

    deletion.delete(connection, ours)
    assert not any(rows_by_table(connection, ours).values())
    assert rows_by_table(connection, theirs) == others


def test_what_a_late_writer_left_is_deleted_by_its_id(connection: Connection) -> None:
    """The organisation is gone, a row came after: the id finds it."""
    ours = add_tenant(connection, "acme")
    deletion.delete(connection, ours)
    with pytest.raises(OrganizationError, match="no organisation"):
        deletion.find(connection, str(ours))
    connection.execute("insert into public.visitor_days values (%s, '2026-03-02', 'late')", (ours,))
    assert deletion.find(connection, str(ours)) == (ours, str(ours))
    assert deletion.delete(connection, ours) == 1
    assert not any(rows_by_table(connection, ours).values())


def test_it_is_refused_while_active_or_referred_to(connection: Connection) -> None:
    """One that is active; a table of an application that refers to it by another column. Once begun it can only go on: activated
    in between, by a command that did not know of the deletion, an organisation stayed with a part of its rows."""
    ours = add_tenant(connection, "acme")
    with pytest.raises(psycopg.errors.ObjectInUse, match="active again"):
        connection.execute("select private.delete_tenant_rows(%s, 'public.orders')", (ours,))
    connection.rollback()
    connection.execute("create table public.invoices (payer uuid references public.organizations)")
    connection.execute("insert into public.invoices values (%s)", (ours,))
    with pytest.raises(OrganizationError, match="invoices still refers"):
        deletion.delete(connection, ours)
    goes_on = "`analytics organizations delete acme` goes on with it"
    for command in ("activate", "add"):
        refused(goes_on, "organizations", command, "acme")
    assert "being deleted" in done("organizations", "list")
    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        connection.execute("update public.organizations set is_active = true")
    connection.execute("delete from public.invoices")
    deletion.delete(connection, ours)
    assert not any(rows_by_table(connection, ours).values())
