"""The schema as the catalogue tells it, and what it refuses."""

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import psycopg.errors
import psycopg.sql
import pytest
from sqlalchemy.engine import make_url

from analytics_assets.database import connect
from analytics_assets_tests.schema_rows import EXPLAINED, KINDS, LATER, NOW, PLAN, REFUSED, SOUND, TWICE, cases, values
from analytics_assets_tests.woocommerce import Connection


@pytest.fixture(scope="module")
def shared_database(server_url: str, template_database: str) -> Iterator[str]:
    """A migrated database for the tests of this file, with one organisation and the partitions of NOW."""
    name = f"analytics_schema_{uuid.uuid4().hex[:12]}"
    server = server_url.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as maker:
        maker.execute(f"create database {name} template {template_database}")
    url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        with connect() as connection:
            connection.execute("insert into public.organizations (id, slug) values (%s, 'acme')", (uuid.UUID(int=0xE1),))
            # Committed: anew for every test they were nine tenths of its time.
            connection.execute("select private.ensure_partitions(parent, %s, %s) from private.partition_steps", (NOW, LATER))
    yield url
    with psycopg.connect(server, autocommit=True) as dropper:
        dropper.execute(f"drop database {name} with (force)")


@pytest.fixture
def schema(shared_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """One transaction over it, rolled back at the end."""
    monkeypatch.setenv("DATABASE_URL", shared_database)
    with connect() as connection:
        yield connection
        connection.rollback()


def insert(connection: Connection, table: str, changes: str = "") -> dict[str, Any]:
    """The sound row of a table with changes, as it stands in the table."""
    row = values(dict(cases(SOUND))[table]) | values(changes)
    names = ", ".join(f'"{name}"' for name in row)
    statement = f"insert into public.{table} ({names}) values ({', '.join(row.values())}) returning *"
    (made,) = rows(connection, statement)
    return made


def rows(connection: Connection, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    """Rows of a statement."""
    return connection.execute(psycopg.sql.SQL(statement), parameters or None).fetchall()


def column(connection: Connection, statement: str, *parameters: Any) -> list[Any]:
    """First column of the rows."""
    return [next(iter(row.values())) for row in rows(connection, statement, *parameters)]


@pytest.mark.parametrize("table", PLAN)
def test_the_plans_columns_are_there(schema: Connection, table: str) -> None:
    """Readers know them by these names."""
    found = column(schema, "select column_name::text from information_schema.columns where table_name = %s", table)
    assert set(PLAN[table].split()) <= set(found)


@pytest.mark.parametrize(("table", "changes"), cases(REFUSED), ids=lambda value: value[:60])
def test_what_is_not_allowed_is_refused(schema: Connection, table: str, changes: str) -> None:
    """The sound row goes in; with one thing changed, the server refuses it for that thing."""
    with schema.transaction(force_rollback=True):
        insert(schema, table)
    with pytest.raises(psycopg.errors.IntegrityError) as refusal:
        insert(schema, table, changes)
    reason = " ".join(filter(None, (refusal.value.diag.constraint_name, refusal.value.diag.column_name)))
    assert any(word in reason for word in [*values(changes), *EXPLAINED.get(table, ())]), reason


@pytest.mark.parametrize(("table", "changes"), cases(TWICE), ids=lambda value: value[:60])
def test_a_second_row_of_the_same_key_is_refused(schema: Connection, table: str, changes: str) -> None:
    """One active alert a rule, one open insight a key, one row a step of a funnel, ..."""
    insert(schema, table)
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(schema, table, changes)


def test_an_alert_that_is_over_makes_room_for_the_next(schema: Connection) -> None:
    """So does an insight that was closed."""
    insert(schema, "performance_alerts", "is_active = false, resolved_at = {now}")
    insert(schema, "ai_insights", "closed_at = {now}")
    assert insert(schema, "performance_alerts")["is_active"] is True
    assert insert(schema, "ai_insights")["closed_at"] is None


def test_rates_are_computed_by_the_server(schema: Connection) -> None:
    """Generated columns: they cannot say anything else than their parts, and nobody can write them."""
    assert insert(schema, "cohort_analysis")["retention_rate"] == Decimal("0.6667")
    funnel = insert(schema, "funnel_analysis")
    assert (funnel["conversion_rate"], funnel["drop_off_rate"]) == (Decimal("0.3333"), Decimal("0.6667"))
    empty = insert(schema, "funnel_analysis", "step_order = 2, visitors = 0, conversions = 0")
    assert (empty["conversion_rate"], empty["drop_off_rate"]) == (0, 0)
    with pytest.raises(psycopg.errors.GeneratedAlways):
        insert(schema, "funnel_analysis", "step_order = 3, conversion_rate = 1")


def test_the_metric_catalogue(schema: Connection) -> None:
    """61 metrics, each of its kind."""
    found = rows(schema, "select metric, kind from public.metrics")
    assert {row["metric"]: row["kind"] for row in found} == {
        metric: kind for kind, metrics in KINDS.items() for metric in metrics.split()
    }
    assert len(found) == 61


# What the catalogue must say of every table, also of those that come later.


def test_every_partitioned_table_has_a_step_and_every_step_a_table(schema: Connection) -> None:
    """A table without one would get no partitions; one kept in a default partition could never get its own."""
    parents = column(schema, "select relname::text from pg_partitioned_table join pg_class on oid = partrelid order by 1")
    assert parents == column(schema, "select parent from private.partition_steps order by 1")
    assert column(schema, "select partrelid::regclass from pg_partitioned_table where partdefid <> 0") == []


def test_partitions_lie_apart_and_closed(schema: Connection) -> None:
    """Row-level security of a parent does not hold for who reads the partition itself."""
    found = rows(
        schema,
        """
        select c.oid::regclass::text as name, n.nspname, c.relrowsecurity, pg_get_expr(c.relpartbound, c.oid) as bound,
               has_table_privilege('public', c.oid, 'select') as is_open
        from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
        join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r'""",
    )
    assert len(found) >= 8 * 3
    assert [row["name"] for row in found if row["nspname"] != "partitions" or not row["relrowsecurity"] or row["is_open"]] == []
    listed = rows(schema, "select l.* from private.partition_steps s cross join private.list_partitions(s.parent) l")
    bounds = {row["name"].removeprefix("partitions."): row["bound"] for row in found}
    assert {row["child"] for row in listed} == set(bounds)
    for row in listed:
        assert (
            f"'{row['period_start']:%Y-%m-%d}" in bounds[row["child"]]
            and f"'{row['period_end']:%Y-%m-%d}" in bounds[row["child"]]
        )


def test_every_key_of_an_organisations_table_begins_with_it(schema: Connection) -> None:
    """A tenant's rows lie together, and the table can be distributed by tenant."""
    first = rows(
        schema,
        """
        select c.relname, k.attname as first from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped
        left join pg_index i on i.indrelid = c.oid and i.indisprimary
        left join pg_attribute k on k.attrelid = c.oid and k.attnum = i.indkey[0]
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')""",
    )
    assert len(first) >= 17
    assert [row for row in first if row["first"] != "organization_id"] == []


def test_no_foreign_key_on_a_partitioned_table(schema: Connection) -> None:
    """It costs half of an insert's time again, and dropping a partition would lock the organisations."""
    assert (
        column(
            schema,
            "select conrelid::regclass::text from pg_constraint where contype = 'f'"
            " and conrelid in (select partrelid from pg_partitioned_table)",
        )
        == []
    )


def test_every_table_has_row_level_security(schema: Connection) -> None:
    """Views hand it through; what the project made is closed to everybody whom no policy names."""
    tables = rows(
        schema,
        "select relname, relrowsecurity from pg_class where relkind in ('r', 'p')"
        " and relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'migrations'::regnamespace)",
    )
    assert len(tables) >= 25
    assert [row["relname"] for row in tables if not row["relrowsecurity"]] == []
    views = rows(
        schema,
        "select relname, reloptions from pg_class where relkind in ('v', 'm')"
        " and relnamespace in ('public'::regnamespace, 'private'::regnamespace)",
    )
    assert len(views) >= 4
    assert [row["relname"] for row in views if "security_invoker=true" not in (row["reloptions"] or [])] == []


def test_functions_have_a_fixed_search_path_and_are_not_for_everybody(schema: Connection) -> None:
    """One is: a check on organizations runs it as whoever writes there, which need not be the owner."""
    functions = rows(
        schema,
        """
        select oid::regprocedure::text as name, coalesce(proconfig, '{}') as settings,
               has_function_privilege('public', oid, 'execute') as is_open
        from pg_proc where pronamespace in ('public'::regnamespace, 'private'::regnamespace)""",
    )
    assert len(functions) >= 25
    fixed = {'search_path=""', "search_path=pg_catalog, pg_temp"}
    assert [row["name"] for row in functions if not fixed & set(row["settings"])] == []
    # With the owner's rights: never what a temporary object of the caller could stand in for.
    definers = column(schema, "select proconfig from pg_proc where prosecdef and pronamespace = 'private'::regnamespace")
    assert len(definers) >= 8
    assert [each for each in definers if "search_path=pg_catalog, pg_temp" not in each and 'search_path=""' not in each] == []
    assert [row["name"] for row in functions if row["is_open"]] == ["private.is_time_zone(text)"]
    assert (
        column(
            schema,
            "select has_schema_privilege('public', s, 'usage') from unnest(array['private', 'partitions', 'migrations']) s",
        )
        == [False] * 3
    )


def test_partitions_are_made_ahead_once(schema: Connection) -> None:
    """Again makes none; every table takes rows from now to the end of its time ahead."""
    schema.execute("select public.make_partitions_ahead()")
    assert set(column(schema, "select made from public.make_partitions_ahead()")) == {0}
    for row in rows(schema, "select parent, now() as first, now() + ahead as last from private.partition_steps"):
        periods = rows(schema, "select period_start, period_end from private.list_partitions(%s)", row["parent"])
        for at in (row["first"], row["last"] - timedelta(seconds=1)):
            assert any(period["period_start"] <= at < period["period_end"] for period in periods), row["parent"]


def test_two_connections_make_the_same_partitions(shared_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made once, by whoever comes first; neither fails."""
    monkeypatch.setenv("DATABASE_URL", shared_database)
    start, made = threading.Barrier(2), list[int]()

    def make() -> None:
        with connect() as connection:
            start.wait(10)
            made.extend(
                column(connection, "select private.ensure_partitions('hourly_facts', '2030-01-01 12:00+00', '2030-01-11+00')")
            )

    workers = [threading.Thread(target=make) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(made) == 2 and sum(made) == 10
    with connect() as connection:
        assert len(column(connection, "select child from private.list_partitions('hourly_facts') where child ~ '_203001'")) == 10


def test_no_row_without_its_partition(schema: Connection) -> None:
    """There is no partition for everything else: a stray row in it would block the making of its own."""
    with pytest.raises(psycopg.errors.CheckViolation, match="no partition of relation"):
        insert(schema, "event_tracking", "timestamp = '1999-01-01'")
