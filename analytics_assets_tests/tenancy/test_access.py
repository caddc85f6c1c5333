"""Each table and view x each caller x select, insert, update, delete, as access.py says; the relations come of the catalogue."""

import uuid
from collections.abc import Iterator

import psycopg
import psycopg.sql
import pytest

from analytics_assets.database import connect
from analytics_assets_tests.conftest import _drop_database, _make_database
from analytics_assets_tests.tenancy.access import CALLERS, WITHHELD, expected
from analytics_assets_tests.tenancy.callers import (
    ACME,
    OTHER,
    ROLES,
    USERS,
    Connection,
    act_as,
    columns,
    fill,
    qualified,
    relations,
    row_of,
    rows,
)


@pytest.fixture(scope="module")
def filled(server_url: str, template_database: str) -> Iterator[str]:
    """URL of a database with two organisations, a row of each in every table, and people: once for the tests of this file."""
    name = f"analytics_access_{uuid.uuid4().hex[:12]}"
    url = _make_database(server_url, name, template_database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        with connect() as connection:
            fill(connection)
    yield url
    _drop_database(server_url, name)


@pytest.fixture
def world(filled: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """One transaction over it. Never committed."""
    monkeypatch.setenv("DATABASE_URL", filled)
    with connect() as connection:
        yield connection
        connection.rollback()


def attempt(connection: Connection, caller: str, statement: str) -> int:
    """Rows that a statement of the caller reads or changes; 0 where it is refused. Nothing of it stays."""
    try:
        with connection.transaction(force_rollback=True):
            act_as(connection, caller)
            return connection.execute(psycopg.sql.SQL(statement)).rowcount
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidTextRepresentation):
        return 0
    except psycopg.errors.IntegrityError:
        return 1  # what it may do, keys and references refuse


def rights(connection: Connection, name: str, kind: str, caller: str) -> str:
    """What a caller can do with acme's rows, by doing it."""
    found = columns(connection, name)
    names = [column["name"] for column in found]
    key = "id" if name == "organizations" else "organization_id" if "organization_id" in names else None
    where = f"where {key} = '{ACME}'" if key else ""
    table, first = qualified(name), key or names[0]
    there = len(rows(connection, f"select {first} from {table} {where}"))
    can = ""
    if there:
        seen = attempt(connection, caller, f"select {first} from {table} {where}")
        assert seen in (0, there), (name, caller, seen)
        can += "r" if seen else ""
    else:  # a view that these rows do not reach
        role = ROLES.get(caller, "authenticated")
        can += "r" if rows(connection, f"select has_table_privilege('{role}', '{table}', 'select') as may")[0]["may"] else ""
    if kind not in "rp":
        return can
    row = row_of(connection, name, ACME)
    columns_named = ", ".join(f'"{column}"' for column in row)
    if attempt(connection, caller, f"insert into {table} ({columns_named}) values ({', '.join(row.values())})"):
        can += "i"
    plain = [column["name"] for column in found if column["plain"]]
    written = [c for c in plain if attempt(connection, caller, f'update {table} set "{c}" = "{c}" {where}')]
    can += "u" if len(written) == len(plain) else "w" if written else ""
    if attempt(connection, caller, f"delete from {table} {where}"):
        can += "d"
    return can


def test_every_relation_is_decided(connection: Connection) -> None:
    """A table that is added stays closed, and fails here until somebody has decided who sees it."""
    assert set(relations(connection)) == set(expected())


def test_rights_are_as_written_down(world: Connection) -> None:
    """By doing, for every relation and caller; the difference names them."""
    found = {name: {who: rights(world, name, kind, who) for who in CALLERS} for name, kind in relations(world).items()}
    different = {
        f"{name} {who}": (can, expected()[name][who])
        for name, cells in found.items()
        for who, can in cells.items()
        if can != expected()[name][who]
        # A view that these rows do not reach is told by its grant, which does not know one user from another.
        and not (can == "r" and who in ("other", "removed") and relations(world)[name] == "v")
    }
    assert different == {}


def test_nobody_reads_what_is_withheld(world: Connection) -> None:
    """Sealed secrets, leases and hashes of keys."""
    for name, withheld in WITHHELD.items():
        for caller in CALLERS[:-1]:
            for column in withheld.split():
                if (caller, column) != ("collector", "key_sha256"):
                    assert attempt(world, caller, f"select {column} from public.{name}") == 0, (caller, name, column)
            assert attempt(world, caller, f"select * from public.{name}") == 0


def test_members_see_no_row_of_another_organisation(world: Connection) -> None:
    """Without any filter of their own, in every table and view that they read."""
    for name, cells in expected().items():
        if "r" in cells["member"] and "organization_id" in [column["name"] for column in columns(world, name)]:
            with world.transaction(force_rollback=True):
                act_as(world, "member")
                seen = {row["organization_id"] for row in rows(world, f"select organization_id from {qualified(name)}")}
            assert seen <= {ACME}, name


@pytest.mark.parametrize(
    "claims",
    ["", "{}", '{"sub": null}', '{"sub": ""}', '{"role": "service_role"}', '{"sub": "00000000-0000-0000-0000-000000000000"}'],
)
def test_a_missing_or_forged_claim_opens_nothing(world: Connection, claims: str) -> None:
    """A claim of a role is no role: that is the connection's, and the gateway's to set."""
    with world.transaction(force_rollback=True):
        world.execute("select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)", (claims,))
        assert rows(world, "select organization_id from public.orders") == []
        assert rows(world, "select id from public.organizations") == []


def test_claims_of_one_request_do_not_reach_the_next(world: Connection) -> None:
    """One pooled connection, transaction after transaction."""
    for caller, count in (("owner", 1), ("removed", 0), ("member", 1), ("other", 0)):
        with world.transaction(force_rollback=True):
            act_as(world, caller)
            assert len(rows(world, f"select id from public.data_sources where organization_id = '{ACME}'")) == count
        left = rows(world, "select current_user = session_user as own, current_setting('request.jwt.claims', true) as claims")
        assert left[0]["own"] and not left[0]["claims"]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from partitions.{child}",
        "select * from private.memberships",
        "select private.org_ids_as(array['viewer'])",
        "select private.store_events()",
        "select public.cleanup_events(now())",
        "select public.aggregate_hourly_data(array['{acme}']::uuid[], now(), now())",
        "truncate public.orders",
        "create trigger t before insert on public.orders for each row execute function private.note_update()",
        "create table public.mine (id int)",
        "create view public.mine as select * from public.orders",
        "create function public.mine() returns bigint language sql security definer return 1",
        "create or replace view public.hourly_aggregates as select * from public.hourly_facts",
        "alter view public.hourly_aggregates set (security_invoker = false)",
        "select private.check_funnel()",
        "alter table public.orders disable row level security",
        "update public.ai_insights set title = 'owned'",
        "update public.performance_alerts set acknowledged_by = '{acme}'",
        "update public.funnels set version = 7",
        "update public.funnels set organization_id = '{acme}'",
        "insert into public.funnels (organization_id, funnel_name, unit, window_seconds, steps)"
        " values ('{acme}', 'theirs', 'user', 60, '[{{\"event\": \"x\"}}]')",
        "update public.data_sources set connection_config = '{{}}'",
        "update public.data_sources set organization_id = '{acme}'",
        "insert into public.organization_members values ('{acme}', '{acme}', 'owner')",
        "set local role analytics_pipeline",
        "set local role service_role",
    ],
)
def test_attempts_of_a_member_fail(world: Connection, statement: str) -> None:
    """Partitions past their parent's policy, functions that write, columns that are not theirs, roles that they do not have."""
    child = rows(world, "select relname from pg_class where relnamespace = 'partitions'::regnamespace and relkind = 'r' limit 1")
    text = statement.format(acme=OTHER, child=child[0]["relname"])
    login = "authenticated_login_" + uuid.uuid4().hex[:8]
    with world.transaction(force_rollback=True):
        # A login of its own: a superuser's SET ROLE would be allowed whatever the role.
        rows(world, f"create role {login} login noinherit in role authenticated")
        rows(world, f"set local session authorization {login}")
        act_as(world, "owner")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(world, text)


def test_the_database_says_who_acknowledged_an_alert(world: Connection) -> None:
    """And when; taken back, both are empty again. A viewer changes nothing."""
    statement = (
        "update public.performance_alerts set is_acknowledged = %s returning acknowledged_by, acknowledged_at = now() as now"
    )
    with world.transaction(force_rollback=True):
        act_as(world, "viewer")
        assert rows(world, statement, True) == []
        act_as(world, "member")
        assert rows(world, statement, True) == [{"acknowledged_by": USERS["member"], "now": True}]
        act_as(world, "owner")
        assert rows(world, statement, False) == [{"acknowledged_by": None, "now": None}]


def test_the_collectors_stage_cannot_be_replaced(world: Connection) -> None:
    """A view or table of the caller's under the stage's name would run what hangs on it with the owner's rights."""
    for own in (
        "create temp table staged_events (x int)",
        "create temp view anything as select 1 as x",
        "create domain pg_temp.text as int",
    ):
        with world.transaction(force_rollback=True):
            act_as(world, "collector")
            rows(world, own)
            for call in ("select private.open_event_stage()", "select * from private.collect_events()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), world.transaction():
                    rows(world, call)


def test_partitions_have_row_level_security(world: Connection) -> None:
    """Of each table in the project's schemas, children included."""
    assert (
        rows(
            world,
            "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p') and not c.relrowsecurity and c.relnamespace in"
            " ('public'::regnamespace, 'private'::regnamespace, 'partitions'::regnamespace, 'migrations'::regnamespace)",
        )
        == []
    )
