"""private.memberships, which policies ask, says at any time what organization_members says."""

import threading
import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_assets.database import connect
from analytics_assets_tests.tenancy.callers import Connection, rows
from analytics_assets_tests.test_migrations import apply

A, B = (uuid.UUID(int=number) for number in (0xA, 0xB))
USERS = [uuid.UUID(int=0xF0 + number) for number in range(3)]
SAME = """
    select (select array_agg(distinct (organization_id, user_id::text, coalesce(role::text, '')) order by (organization_id, user_id::text,
                coalesce(role::text, ''))) from public.organization_members)
        is not distinct from
           (select array_agg((organization_id, user_id::text, role) order by (organization_id, user_id::text, role))
            from private.memberships) as same
"""


def is_same(connection: Connection) -> bool:
    """Whether the copy holds what the table does."""
    return bool(rows(connection, SAME)[0]["same"])


@pytest.fixture
def adopted(empty_database: str) -> Iterator[Connection]:
    """An application's members: pairs may stand twice, users are text, roles may be missing."""
    with connect() as connection:
        rows(connection, "create table public.organizations (id uuid primary key, name text not null)")
        rows(
            connection,
            "create table public.organization_members (organization_id uuid not null, user_id text not null, role text)",
        )
        rows(connection, "insert into public.organizations values (%s, 'a'), (%s, 'b')", A, B)
        rows(connection, "insert into public.organization_members values (%s, %s, 'owner')", A, str(USERS[0]))
        connection.commit()
        apply()
        yield connection


_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["insert", "update", "move", "delete", "truncate"]),
        st.sampled_from([A, B]),
        st.sampled_from(USERS),
        st.sampled_from(["owner", "viewer"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_CHANGES)
def test_it_follows_every_change(adopted: Connection, changes: list[tuple[str, uuid.UUID, uuid.UUID, str]]) -> None:
    """Rows added, changed, moved to the other organisation, removed, all at once too; pairs that stand twice among them."""
    statements = {
        "insert": "insert into public.organization_members values (%(org)s, %(user)s, %(role)s)",
        "update": "update public.organization_members set role = %(role)s where user_id = %(user)s",
        "move": "update public.organization_members set organization_id = %(org)s where user_id = %(user)s",
        "delete": "delete from public.organization_members where organization_id = %(org)s and user_id = %(user)s"
        " and role = %(role)s",
        "truncate": "truncate public.organization_members",
    }
    assert is_same(adopted) and rows(adopted, "select role from private.memberships") == [{"role": "owner"}]
    for what, org, user, role in changes:
        adopted.execute(statements[what], {"org": org, "user": str(user), "role": role})
        assert is_same(adopted), what
    adopted.rollback()


def test_users_that_are_no_uuid_sign_in_nowhere(adopted: Connection) -> None:
    """They are kept by their application, and by policies left out; what was changed past the triggers comes with the next migrate."""
    rows(adopted, "insert into public.organization_members values (%s, 'robot', 'owner'), (%s, %s, null)", A, B, str(USERS[1]))
    assert [row["role"] for row in rows(adopted, "select role from private.memberships order by organization_id")] == [
        "owner",
        "",
    ]
    rows(adopted, "alter table public.organization_members disable trigger user")
    rows(adopted, "delete from public.organization_members where organization_id = %s", B)
    rows(adopted, "insert into public.organization_members values (%s, %s, 'viewer')", A, str(USERS[2]))
    rows(adopted, "select private.copy_all_memberships()")
    found = rows(adopted, "select user_id, role from private.memberships order by user_id")
    assert [tuple(row.values()) for row in found] == [(USERS[0], "owner"), (USERS[2], "viewer")]


def test_two_who_remove_one_pair_at_once_leave_none(adopted: Connection) -> None:
    """Each removed one of two rows and saw the other's still there: the copy kept the pair, and with it the access."""
    rows(adopted, "insert into public.organization_members values (%s, %s, 'owner')", A, str(USERS[0]))
    adopted.commit()
    statement = (
        "delete from public.organization_members where ctid = (select ctid from public.organization_members"
        " where user_id = %s order by ctid offset %s limit 1)"
    )
    with connect() as first, connect() as second:
        first.execute(statement, (str(USERS[0]), 0))
        other = threading.Thread(target=_remove, args=(second, statement))
        other.start()
        waiting = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        with connect(autocommit=True) as watching:
            while not watching.execute(waiting, (second.info.backend_pid,)).fetchall():
                assert other.is_alive()
        first.commit()
        other.join()
    assert rows(adopted, "select 1 from public.organization_members") == []
    assert rows(adopted, "select 1 from private.memberships") == []


def _remove(connection: Connection, statement: LiteralString) -> None:
    connection.execute(statement, (str(USERS[0]), 1))
    connection.commit()


def test_nobody_sees_the_memberships_of_others(adopted: Connection) -> None:
    """Not even where a role of the API could name the table: each user the own rows."""
    rows(adopted, "insert into public.organization_members values (%s, %s, 'viewer')", B, str(USERS[1]))
    rows(adopted, "grant usage on schema private to authenticated")
    for claim, seen in ((USERS[0], [A]), (USERS[1], [B]), (USERS[2], [])):
        rows(adopted, "select set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, true)", claim)
        with adopted.transaction(force_rollback=True):
            rows(adopted, "set local role authenticated")
            assert [row["organization_id"] for row in rows(adopted, "select organization_id from private.memberships")] == seen
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(adopted, "delete from private.memberships")
    adopted.rollback()
