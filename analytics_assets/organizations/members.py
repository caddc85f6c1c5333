"""Who belongs to an organisation, and in which role."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.sql import query


def listed(connection: psycopg.Connection[dict[str, Any]], slug: str) -> list[dict[str, Any]]:
    """Members of an organisation: user_id, role, created_at (UTC). Raises OrganizationError."""
    return connection.execute(query("list_members"), {"organization_id": get(connection, slug).id}).fetchall()


def add(connection: psycopg.Connection[dict[str, Any]], slug: str, user: str, role: str, force: bool = False) -> str:
    """Makes a user a member, or gives a member another role; says what it did: added, changed or unchanged.

    Raises OrganizationError where the organisation, the user or the role is not allowed, or no owner would be left.
    """
    who = {"organization_id": get(connection, slug).id, "user_id": _uuid(user), "role": role, "force": force}
    (allowed,) = connection.execute("select private.member_roles() as roles").fetchall()
    if role not in allowed["roles"]:
        raise OrganizationError(f"role {role!r}: expected {', '.join(allowed['roles'])}")
    try:
        outcome = _outcome(connection.execute(query("set_member"), who), slug, user)
    except psycopg.errors.ForeignKeyViolation as error:
        connection.rollback()
        raise OrganizationError(f"user {user}: {error.diag.message_detail} Make the user first.") from None
    except (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation) as error:
        connection.rollback()
        raise OrganizationError(
            f"role {role!r} of user {user}: the table organization_members of organisation {slug!r} refuses the row "
            f"({error.diag.message_primary}); choose a role that it allows, or add the member in your application"
        ) from None
    connection.commit()
    return outcome


def remove(connection: psycopg.Connection[dict[str, Any]], slug: str, user: str, force: bool = False) -> None:
    """Removes a member. Raises OrganizationError where there is none, or no owner would be left."""
    who = {"organization_id": get(connection, slug).id, "user_id": _uuid(user), "force": force}
    if _outcome(connection.execute(query("remove_member"), who), slug, user) == "absent":
        raise OrganizationError(f"user {user} is no member of {slug!r}; see `analytics organizations members list {slug}`")
    connection.commit()


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise OrganizationError(f"user {text!r}: expected the user's uuid") from None


def _outcome(cursor: psycopg.Cursor[dict[str, Any]], slug: str, user: str) -> str:
    (row,) = cursor.fetchall()
    if row["outcome"] == "last owner":
        raise OrganizationError(f"user {user} is the last owner of {slug!r}: make another one owner first, or use --force")
    return str(row["outcome"])
