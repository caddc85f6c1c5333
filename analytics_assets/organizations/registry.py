"""The registry of tenants: added, listed, spread over partition keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.sql import query

_SLUG = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class OrganizationError(ValueError):
    """An organisation that cannot be as asked; the message names the field and its value."""


@dataclass(frozen=True)
class Organization:
    """A tenant. time_zone is an IANA name, currency an ISO 4217 code."""

    id: UUID
    slug: str
    name: str
    time_zone: str
    currency: str
    partition_key: str
    is_active: bool
    deleting_since: datetime | None = None


def add(
    connection: psycopg.Connection[dict[str, Any]],
    slug: str,
    name: str | None = None,
    time_zone: str = "UTC",
    currency: str = "USD",
    partition_key: str | None = None,
) -> tuple[Organization, bool]:
    """Adds an organisation; one that is there already with the same settings is left alone.

    Returns it and whether it is new. Raises OrganizationError where a value is not allowed, or the slug belongs to an
    organisation with other settings or one that is being deleted.
    """
    for field, value in (("slug", slug), ("partition key", partition_key or slug)):
        if not _SLUG.match(value):
            raise OrganizationError(f"{field} {value!r}: lower-case letters, digits and hyphens, at most 63")
    if not re.match(r"^[A-Z]{3}$", currency):
        raise OrganizationError(f"currency {currency!r}: expected an ISO 4217 code such as EUR")
    known = connection.execute("select private.is_time_zone(%s) as known", (time_zone,)).fetchone()
    if not known or not known["known"]:
        raise OrganizationError(f"time zone {time_zone!r}: expected an IANA name such as Europe/London")
    made = connection.execute(
        query("add_organization"),
        {
            "slug": slug,
            "name": name or slug,
            "time_zone": time_zone,
            "currency": currency,
            "partition_key": partition_key or slug,
        },
    ).fetchone()
    connection.commit()
    if made is not None:
        return Organization(**made), True
    found = get(connection, slug)
    _refuse_deleting(slug, found.deleting_since)
    for field, wanted, is_so in (
        ("name", name or found.name, found.name),
        ("time zone", time_zone, found.time_zone),
        ("currency", currency, found.currency),
        ("partition key", partition_key or found.partition_key, found.partition_key),
    ):
        if wanted != is_so:
            raise OrganizationError(f"organisation {slug!r} exists with {field} {is_so}, not {wanted}")
    return found, False


def get(connection: psycopg.Connection[dict[str, Any]], slug: str) -> Organization:
    """The organisation of a slug. Raises OrganizationError."""
    row = connection.execute(
        "select id, slug, name, time_zone, currency, partition_key, is_active, deleting_since from public.organizations"
        " where slug = %s",
        (slug,),
    ).fetchone()
    if row is None:
        raise OrganizationError(f"no organisation {slug!r}; see `analytics organizations list`")
    return Organization(**row)


def set_active(connection: psycopg.Connection[dict[str, Any]], slug: str, active: bool) -> None:
    """Takes an organisation out of the schedules, or puts it back into them.

    Raises OrganizationError where there is none, or its deletion has begun: activated, its writers would go on behind it.
    """
    row = connection.execute(query("set_organization_active"), {"slug": slug, "active": active}).fetchone()
    connection.commit()
    if row is None:
        raise OrganizationError(f"no organisation {slug!r}; see `analytics organizations list`")
    _refuse_deleting(slug, row["deleting_since"])


def _refuse_deleting(slug: str, since: datetime | None) -> None:
    if since is not None:
        raise OrganizationError(
            f"organisation {slug!r} is being deleted since {since:%Y-%m-%d %H:%M} UTC, and part of its rows is gone: "
            f"`analytics organizations delete {slug}` goes on with it"
        )


def listed(connection: psycopg.Connection[dict[str, Any]]) -> list[dict[str, Any]]:
    """All organisations with what is known of them: sources, hours done and open."""
    return connection.execute(query("list_organizations")).fetchall()


def partition_keys(connection: psycopg.Connection[dict[str, Any]]) -> list[str]:
    """The partition keys that the organization dimension should have, in order."""
    rows = connection.execute(
        "select distinct partition_key from public.organizations where is_active order by partition_key"
    ).fetchall()
    return [row["partition_key"] for row in rows]


def spread(connection: psycopg.Connection[dict[str, Any]], cells: int) -> dict[str, int]:
    """Gives all active organisations shared keys cell-01 ... cell-N, as evenly as can be; 0 gives each its slug back.

    An organisation's cell depends on its id alone, so that later ones move nobody. Returns organisations by key.
    """
    if not 0 <= cells <= 10_000:
        raise OrganizationError(f"{cells} cells: expected 1 to 10000, or 0 for a key of its own for each organisation")
    connection.execute(query("spread_organizations"), {"cells": cells})
    rows = connection.execute(
        "select partition_key, count(*) as organizations from public.organizations where is_active group by 1 order by 1"
    ).fetchall()
    connection.commit()
    return {row["partition_key"]: row["organizations"] for row in rows}
