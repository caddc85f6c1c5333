"""Funnels of organisations: stored, removed, listed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from analytics_assets.funnels.definitions import Funnel
from analytics_assets.organizations.registry import get as get_organization
from analytics_assets.sql import query

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True)
class Stored:
    """What storing a definition did. change: added, changed, restored, unchanged. marked: days to be computed anew."""

    version: int
    change: str
    marked: int
    first_day: date | None


def store(connection: Connection, slug: str, funnel: Funnel) -> Stored:
    """Adds a funnel or makes a new version of it; the same again changes nothing. Raises OrganizationError."""
    organization = get_organization(connection, slug)
    row = connection.execute(
        query("store_funnel"),
        {
            "organization_id": organization.id,
            "name": funnel.name,
            "seconds": int(funnel.window.total_seconds()),
            "unit": funnel.unit,
            "steps": Jsonb(list(funnel.steps)),
        },
    ).fetchone()
    connection.commit()
    assert row is not None
    return Stored(row["version"], row["change"], row["marked"] or 0, row["first_day"])


def remove(connection: Connection, slug: str, name: str) -> int | None:
    """Counts a funnel no more. Returns how many days will lose its rows; None: there is none. Raises OrganizationError."""
    organization = get_organization(connection, slug)
    row = connection.execute(query("remove_funnel"), {"organization_id": organization.id, "name": name}).fetchone()
    connection.commit()
    return None if row is None else row["marked"]


def listed(connection: Connection, slug: str | None) -> list[dict[str, Any]]:
    """Funnels with what is computed of each, of an organisation or all. Raises OrganizationError."""
    if slug is not None:
        get_organization(connection, slug)
    return connection.execute(query("list_funnels"), {"slug": slug}).fetchall()


def pooled(connection: Connection, slug: str, name: str, first: date, last: date) -> list[dict[str, Any]]:
    """Visitors by version and step, summed over local days, both included. Raises OrganizationError."""
    organization = get_organization(connection, slug)
    return connection.execute(
        query("show_funnel"), {"organization_id": organization.id, "name": name, "first": first, "last": last}
    ).fetchall()
