"""Rules and alerts of organisations: stored, removed, listed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import psycopg

from analytics_assets.alerts.rules import Rule, RuleError, limit_text
from analytics_assets.organizations.registry import get as get_organization
from analytics_assets.sql import query

Connection = psycopg.Connection[dict[str, Any]]
_COMPARED = (
    "channel", "metric", "grain", "kind", "threshold", "clear_threshold", "confirm", "minimum_base", "quiet_from", "quiet_to",
)  # fmt: skip


def catalogue(connection: Connection) -> list[dict[str, Any]]:
    """Metrics with their parts, and the channels."""
    return connection.execute(query("metric_catalogue")).fetchall()


def store(connection: Connection, slug: str, rule: Rule) -> bool:
    """Adds a rule; False where it is there already. Raises OrganizationError, and RuleError where its name is another rule's."""
    organization = get_organization(connection, slug)
    stored = connection.execute(query("store_alert_rule"), {"organization_id": organization.id, **asdict(rule)}).fetchone()
    there = connection.execute(query("find_alert_rule"), {"organization_id": organization.id, "name": rule.name}).fetchone()
    connection.commit()
    if stored is not None or there is None:
        return stored is not None
    wanted = asdict(rule)
    differs = [name for name in _COMPARED if there[name] != wanted[name]]
    if differs:
        raise RuleError(
            f"--name {rule.name!r}: {slug} has a rule of that name, {there['metric']} of {there['channel']} {limit_text(there)}, which "
            f"differs in {', '.join(differs)}. Remove it first: analytics alerts remove --organization {slug} --name '{rule.name}'"
        )
    return False


def remove(connection: Connection, slug: str, name: str) -> int | None:
    """Removes a rule. Returns how many active alerts of it ended; None: there is none. Raises OrganizationError."""
    organization = get_organization(connection, slug)
    row = connection.execute(query("remove_alert_rule"), {"organization_id": organization.id, "name": name}).fetchone()
    connection.commit()
    return None if row is None else int(row["ended"])


def listed(connection: Connection, slug: str | None) -> list[dict[str, Any]]:
    """Rules, of an organisation or all. Raises OrganizationError."""
    if slug is not None:
        get_organization(connection, slug)
    return connection.execute(query("list_alert_rules"), {"slug": slug}).fetchall()


def shown(connection: Connection, slug: str, *, everything: bool, most: int) -> list[dict[str, Any]]:
    """Alerts of an organisation: active ones, or all, active ones first. Raises OrganizationError."""
    organization = get_organization(connection, slug)
    return connection.execute(
        query("show_alerts"), {"organization_id": organization.id, "all": everything, "most": most}
    ).fetchall()
