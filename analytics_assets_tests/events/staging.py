"""Messages staged and stored as the collector does it, and the tables read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import psycopg.sql
from psycopg.rows import tuple_row

from analytics_assets.sql import query
from analytics_assets_tests.events.model import Message, Row, Tables

Connection = psycopg.Connection[dict[str, Any]]
_COLUMNS = [
    "slot",
    "organization_id",
    "id",
    "timestamp",
    "received_at",
    "event_type",
    "event_name",
    "event_value",
    "currency",
    "page_url",
    "user_id",
    "anonymous_id",
    "previous_id",
    "own_session_id",
    "referrer",
    "user_agent",
    "ip_address",
    "country",
    "city",
    "device_type",
    "browser",
    "os",
    "email_hash",
    "signed_up_at",
    "metadata",
]


def _staged(slot: int, message: Message, received_at: datetime) -> tuple[Any, ...]:
    live = message.live.get
    return (
        slot,
        message.organization,
        message.id,
        message.at,
        received_at,
        message.type,
        message.name,
        message.value,
        message.currency,
        message.page,
        message.user,
        message.anonymous,
        message.previous,
        message.own,
        *(live(name) for name in ("referrer", "user_agent", "ip_address", "country", "city", "device_type", "browser", "os")),
        hashlib.sha256(message.email.encode()).digest() if message.email else None,
        message.signed_up_at,
        json.dumps({"properties": {}}),
    )


def stage(connection: Connection, messages: Sequence[Message], received_at: datetime | None = None) -> None:
    """Puts messages down where private.store_events finds them."""
    received_at = received_at or datetime.now(UTC)
    columns = ", ".join(f'"{name}"' for name in _COLUMNS)
    with connection.cursor().copy(f"copy pg_temp.staged_events ({columns}) from stdin") as copy:
        for slot, message in enumerate(messages):
            copy.write_row(_staged(slot, message, received_at))


def store(connection: Connection, messages: Sequence[Message]) -> tuple[int, int]:
    """Stores one batch in one transaction; (stored, duplicates)."""
    connection.execute(query("stage_events"))
    stage(connection, messages)
    row = connection.execute("select * from private.store_events()").fetchone()
    connection.commit()
    assert row is not None
    return row["stored"], row["duplicates"]


def read(connection: Connection, organizations: Sequence[UUID]) -> Tables:
    """What the tables hold now of these organisations."""

    def rows(columns: str, table: str) -> set[Row]:
        statement = psycopg.sql.SQL("select {} from {} where organization_id = any (%s)").format(
            psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, ["organization_id", *columns.split()])),
            psycopg.sql.Identifier("public", table),
        )
        with connection.cursor(row_factory=tuple_row) as cursor:
            found = cursor.execute(statement, (list(organizations),)).fetchall()
        assert len(set(found)) == len(found)
        return set(found)

    result = Tables(
        rows("timestamp id session_id visitor_id user_id anonymous_id known_as event_name", "event_tracking"),
        rows("visitor_id session_id started_at last_activity events page_views is_own", "visitor_sessions"),
        rows("visitor_id first_seen_at signed_up_at user_id email_hash", "visitors"),
        rows("known_as user_id identified_at", "event_identities"),
    )
    connection.commit()
    return result


def add_organization(connection: Connection, slug: str, time_zone: str = "UTC", currency: str = "EUR") -> UUID:
    """A tenant that has been there for years."""
    row = connection.execute(
        "insert into public.organizations (slug, name, time_zone, currency, created_at)"
        " values (%s, %s, %s, %s, '2020-01-01') returning id",
        (slug, slug, time_zone, currency),
    ).fetchone()
    connection.commit()
    assert row is not None
    return UUID(str(row["id"]))
