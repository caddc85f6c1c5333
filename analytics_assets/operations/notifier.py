"""Tells operators of alerts over HTTP: as JSON to a webhook, and in the form that Slack's incoming webhooks take.

Notices are rows that are made with the alert. One is delivered when the receiver answered 2xx; until then it is due again, with
growing pauses. A sender that dies between the answer and its note sends once more: at least once, never not at all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analytics_assets.resources import Database
from analytics_assets.settings import AlertSettings
from analytics_assets.sql import query
from analytics_assets.webhooks import escaped, post, section

#: Notices in one call: an outage of a vendor is some calls, not a thousand.
MOST_IN_A_CALL = 40

Row = Mapping[str, Any]


@dataclass
class Delivery:
    """What a round of telling came to. problems: channel -> why it could not be told."""

    delivered: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def as_json(notices: Sequence[Row]) -> dict[str, Any]:
    """Body for a webhook. Instants are ISO 8601, UTC; id and state together are the same whenever a notice is sent again."""
    return {
        "version": 1,
        "kind": "source",
        "alerts": [
            {
                "id": str(notice["alert_id"]),
                "state": notice["state"],
                "organization": notice["organization"],
                "source_type": notice["source_type"],
                "source_name": notice["source_name"],
                "reason": notice["reason"],
                "message": notice["message"],
                "what_to_do": command(notice),
                "opened_at": notice["opened_at"].isoformat(),
                "resolved_at": notice["resolved_at"].isoformat() if notice["resolved_at"] else None,
            }
            for notice in notices
        ],
    }


def command(notice: Row) -> str:
    """What an operator does about an alert, as a line to type."""
    organization, kind = notice["organization"], notice["source_type"]
    return {
        "authorize": f"analytics sources authorize --organization {organization} --type {kind}",
        "keys": f"analytics keys list --organization {organization}",
        "ui": "analytics ui (is Dagster's daemon running?)",
    }.get(notice["what_to_do"], f"analytics sources test --organization {organization} --type {kind}")


def as_slack(notices: Sequence[Row]) -> dict[str, Any]:
    """Body for an incoming webhook of Slack (and of what speaks its form): text for the notification, a block a notice."""
    opened = sum(notice["state"] == "open" for notice in notices)
    blocks = []
    for notice in notices:
        if notice["state"] == "open":
            line = f":red_circle: *{escaped(notice['organization'])}* {escaped(notice['message'])}\n`{escaped(command(notice))}`"
        else:
            line = f":large_green_circle: *{escaped(notice['organization'])}* resolved: {escaped(notice['message'])}"
        blocks.append(section(line))
    return {"text": f"analytics: {opened} alerts opened, {len(notices) - opened} resolved", "blocks": blocks}


_BODIES = {"webhook": as_json, "slack": as_slack}


def deliver(database: Database, settings: AlertSettings, *, budget_seconds: float = 15.0) -> Delivery:
    """Sends what is due, until nothing is, a receiver fails or the time is up. A channel that fails holds up no other.

    The budget leaves a call that hangs its own timeouts within the minute that Dagster gives a sensor.
    """
    result = Delivery()
    until = time.monotonic() + budget_seconds
    for channel, url in settings.channels.items():
        while time.monotonic() < until:
            notices = database.rows(query("claim_operator_notices"), {"channel": channel, "most": MOST_IN_A_CALL})
            if not notices:
                break
            problem = post(url, _BODIES[channel](notices))
            database.rows(
                query("note_operator_notices"),
                {
                    "channel": channel,
                    "organizations": [notice["organization_id"] for notice in notices],
                    "alerts": [notice["alert_id"] for notice in notices],
                    "states": [notice["state"] for notice in notices],
                    "problem": problem,
                },
            )
            if problem:
                result.problems[channel] = problem
                break
            result.delivered += len(notices)
    return result
