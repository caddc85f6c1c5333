"""Two organisations with a row of each in every table, and the callers who try to get at them."""

import json
import uuid
from typing import Any

import psycopg
import psycopg.sql

from analytics_assets_tests.schema_rows import LATER, NOW, SOUND, cases, values

Connection = psycopg.Connection[dict[str, Any]]
ACME, OTHER = uuid.UUID(int=0xE1), uuid.UUID(int=0xE9)
USERS = {name: uuid.UUID(int=0xA0 + number) for number, name in enumerate(("owner", "member", "viewer", "other", "removed"))}
ROLES = {"anon": "anon", "service": "service_role", "collector": "analytics_collector", "bi": "analytics_bi",
         "pipeline": "analytics_pipeline"}  # fmt: skip
# Values of columns whose type alone does not say what may stand in them.
VALUES = {"grain": "'hour'", "step": "'day'", "source_type": "'shopify'", "currency": "'EUR'", "stream": "'orders'", "purpose": "'backfill'", "customer_key": "'id:1'", "channel_id": "1",
          "metric_id": "1", "window_end": f"'{LATER}'"}  # fmt: skip
KINDS = {"interval": "'1 hour'", "uuid": "'{key}'", "timestamp with time zone": f"'{NOW}'", "date": f"'{NOW[:10]}'", "boolean": "true",
         "bytea": "sha256('x')", "jsonb": "'{{}}'"}  # fmt: skip


def rows(connection: Connection, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    """Rows of a statement."""
    cursor = connection.execute(psycopg.sql.SQL(statement), parameters or None)
    return cursor.fetchall() if cursor.description else []


def act_as(connection: Connection, caller: str) -> None:
    """As PostgREST begins a request: role and claims for this transaction."""
    claims = json.dumps({"sub": str(USERS[caller]), "role": "authenticated"}) if caller in USERS else ""
    connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
    connection.execute("select set_config('role', %s, true)", (ROLES.get(caller, "authenticated"),))


def relations(connection: Connection) -> dict[str, str]:
    """Name as in access.py -> kind, of everything in public and private that holds rows."""
    found = rows(
        connection,
        """
        select case n.nspname when 'public' then '' else n.nspname || '.' end || c.relname as name, c.relkind::text as kind
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'private') and c.relkind in ('r', 'p', 'v', 'm')""",
    )
    return {row["name"]: row["kind"] for row in found}


def qualified(name: str) -> str:
    """public.orders, private.partition_steps."""
    return name if "." in name else f"public.{name}"


def columns(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Columns of a relation with their types, and whether a row has to give them a value."""
    return rows(
        connection,
        """
        select a.attname as name, format_type(a.atttypid, null) as type, a.attgenerated = '' as plain,
               a.attnotnull and not a.atthasdef and a.attgenerated = '' and a.attidentity = '' as needed
        from pg_attribute a where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum""",
        qualified(name),
    )


def row_of(connection: Connection, name: str, organization: uuid.UUID) -> dict[str, str]:
    """A sound row of a table, as SQL values."""
    row = dict(values(dict(cases(SOUND)).get(name, "")))
    if name == "quarantine":
        row |= {"source": "'events'", "level": "'event'"}
    for column in columns(connection, name):
        if column["needed"] and column["name"] not in row:
            kind = KINDS.get(column["type"], "1" if column["type"] in ("numeric", "integer", "smallint", "bigint") else "'x'")
            row[column["name"]] = VALUES.get(column["name"], kind.format(key=organization))
    if name not in ("organizations", "channels", "metrics", "exchange_rates") and "organization_id" in row:
        row["organization_id"] = f"'{organization}'"
    if name == "data_sources":
        row["id"] = f"'{organization}'"  # as in the rows that refer to it
    return row


def insert(connection: Connection, name: str, row: dict[str, str]) -> None:
    """Inserts it."""
    names = ", ".join(f'"{column}"' for column in row)
    rows(connection, f"insert into {qualified(name)} ({names}) values ({', '.join(row.values())})")


def fill(connection: Connection) -> None:
    """Two organisations with a row of each in every table, and people."""
    rows(connection, "insert into public.organizations (id, slug) values (%s, 'acme'), (%s, 'other')", ACME, OTHER)
    rows(connection, "select private.ensure_partitions(parent, %s, %s) from private.partition_steps", NOW, LATER)
    for user, role in (("owner", "owner"), ("member", "member"), ("viewer", "viewer"), ("removed", "admin")):
        rows(connection, "insert into public.organization_members values (%s, %s, %s)", ACME, USERS[user], role)
    rows(connection, "insert into public.organization_members values (%s, %s, 'owner')", OTHER, USERS["other"])
    rows(connection, "delete from public.organization_members where user_id = %s", USERS["removed"])
    for name, kind in sorted(relations(connection).items(), key=lambda item: (item[0] != "data_sources", item[0])):
        if kind in "rp" and name not in ("organizations", "organization_members"):
            for organization in (ACME, OTHER):
                row = row_of(connection, name, organization)
                if "organization_id" not in row and rows(connection, f"select 1 from {qualified(name)} limit 1"):
                    continue  # common to all
                if name == "event_keys":
                    row["key_sha256"] = f"sha256('{organization}')"
                insert(connection, name, row)
