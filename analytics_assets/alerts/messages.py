"""Notices of one organisation as one message: JSON, Slack's form, an e-mail. Pure functions over rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any

from analytics_assets.alerts.receivers import Mail
from analytics_assets.webhooks import MOST_SECTIONS, escaped, section

Row = Mapping[str, Any]

_SIGNS = {"open": ":red_circle:", "resolved": ":large_green_circle:", "withdrawn": ":white_circle:"}
_WORDS = {"open": "ALERT", "resolved": "resolved", "withdrawn": "withdrawn, later data denies it"}


def headline(notices: Sequence[Row]) -> str:
    """Of a digest: whose, and how many of each state."""
    counts = {state: sum(notice["state"] == state for notice in notices) for state in _SIGNS}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{notices[0]['organization']}: alerts {said}"


def as_json(notices: Sequence[Row]) -> dict[str, Any]:
    """Body for a webhook. Instants are ISO 8601, UTC; id and transition together are the same whenever a notice is sent again."""
    return {
        "version": 1,
        "kind": "rule",
        "organization": notices[0]["organization"],
        "alerts": [
            {
                "id": str(notice["alert_id"]),
                "transition": notice["transition"],
                "state": notice["state"],
                "organization": notice["organization"],
                "rule": notice["rule"],
                "alert_type": notice["alert_type"],
                "channel": notice["channel"],
                "metric": notice["metric"],
                # As text: exact numbers stay exact.
                "current_value": str(notice["current_value"]),
                "threshold_value": str(notice["threshold_value"]),
                "threshold_type": notice["threshold_type"],
                "message": notice["message"],
                "fired_at": notice["fired_bucket"].isoformat() if notice["fired_bucket"] else None,
                "cleared_at": notice["cleared_bucket"].isoformat() if notice["cleared_bucket"] else None,
            }
            for notice in notices
        ],
    }


def as_slack(notices: Sequence[Row]) -> dict[str, Any]:
    """Body for an incoming webhook of Slack (and of what speaks its form): text for the notification, a block an alert."""
    blocks = []
    for notice in notices[:MOST_SECTIONS]:
        line = f"{_SIGNS[notice['state']]} *{escaped(notice['organization'])}* {_WORDS[notice['state']]}: {escaped(notice['message'])}"
        blocks.append(section(line))
    if len(notices) > MOST_SECTIONS:
        more = f"and {len(notices) - MOST_SECTIONS} more: analytics alerts show --organization {notices[0]['organization']}"
        blocks.append(section(more))
    return {"text": escaped(headline(notices)), "blocks": blocks}


def as_email(notices: Sequence[Row], mail: Mail) -> EmailMessage:
    """An e-mail. Its Message-ID comes of what it tells: sent once more after a crash, mail servers and readers know it again."""
    message = EmailMessage()
    message["Subject"] = " ".join(headline(notices).split())
    message["From"], message["To"] = mail.sender, ", ".join(mail.recipients)
    told = "|".join(f"{notice['alert_id']} {notice['transition']}" for notice in notices)
    message["Message-ID"] = f"<{hashlib.sha256(told.encode()).hexdigest()[:32]}@{mail.sender.rpartition('@')[2]}>"
    lines = [f"{_WORDS[notice['state']]}: {notice['message']}" for notice in notices]
    shown = f"analytics alerts show --organization {notices[0]['organization']}"
    message.set_content("\n".join([*lines, "", shown, ""]))
    return message
