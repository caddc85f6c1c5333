"""An organisation deleted with all that belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.sql import query

# Collectors read the write keys anew within two seconds; what they took in before that is stored and then deleted.
_KEYS_ARE_KNOWN_SECONDS = 3.0


def find(connection: psycopg.Connection[dict[str, Any]], slug_or_id: str) -> tuple[UUID, str]:
    """Id and name of what to delete: a slug, or the id of one whose deletion was interrupted at its very end.

    Raises OrganizationError where neither an organisation nor any row of one is there.
    """
    row = connection.execute(
        "select id, slug from public.organizations where slug = %(named)s or id::text = %(named)s", {"named": slug_or_id}
    ).fetchone()
    if row is not None:
        return row["id"], row["slug"]
    try:
        organization = UUID(slug_or_id)
    except ValueError:
        organization = None
    if organization is not None and any(count_rows(connection, organization).values()):
        return organization, slug_or_id
    raise OrganizationError(f"no organisation {slug_or_id!r}; see `analytics organizations list`")


def count_rows(connection: psycopg.Connection[dict[str, Any]], organization: UUID) -> dict[str, int]:
    """Rows of an organisation by table (schema.table), every tenant table of the catalogue."""
    rows = connection.execute(query("count_tenant_rows"), {"organization_id": organization}).fetchall()
    return {row["table_name"]: row["row_count"] for row in rows}


def delete(
    connection: psycopg.Connection[dict[str, Any]],
    organization: UUID,
    on_piece: Callable[[str, int, int], None] = lambda table, done, of: None,
) -> int:
    """Deletes every row of an organisation, the organisation last; returns how many rows of tenant tables went.

    Each partition is a transaction of its own, in the turns that writers take, so that others wait for one at most.
    Killed at any point and called again it goes on. on_piece hears the table, how many pieces are done, and of how many.
    Once begun it can only go on: the organisation cannot be activated any more.
    Raises OrganizationError where a row of another table still refers to what is to go.
    """
    who = {"organization_id": organization}
    connection.execute(query("close_organization"), who)
    connection.commit()
    time.sleep(_KEYS_ARE_KNOWN_SECONDS)
    pieces = connection.execute(query("tenant_pieces")).fetchall()
    connection.commit()
    deleted = 0
    try:
        for number, piece in enumerate(pieces, 1):
            deleted += _seized(connection, "delete_tenant_rows", {**who, "piece": piece["piece"]})
            on_piece(piece["table_name"], number, len(pieces))
        # Twice: whoever waited for the turn of the first writes after it, and finds no organisation any more.
        for _ in range(2):
            deleted += _seized(connection, "delete_organization_row", who)
    except psycopg.errors.ForeignKeyViolation as error:
        connection.rollback()
        detail = error.diag.message_detail or error.diag.message_primary
        raise OrganizationError(
            f"{error.diag.table_name or 'a table'} still refers to rows of the organisation ({detail}): delete those, then call this again"
        ) from None
    return deleted


def _number(cursor: psycopg.Cursor[dict[str, Any]]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row["deleted"])


def _seized(connection: psycopg.Connection[dict[str, Any]], name: str, values: dict[str, Any]) -> int:
    """One transaction. It gives way to who holds the organisation's row, and may be waiting for a turn that it has."""
    while True:
        try:
            deleted = _number(connection.execute(query(name), values))
            connection.commit()
            return deleted
        except psycopg.errors.LockNotAvailable:
            connection.rollback()
            time.sleep(0.1)
