"""Tells of alerts: over HTTP and by e-mail, one message an organisation, delivered at least once.

Notices are rows that are made with the alert's change. One is delivered when the receiver took it; until then it is due again,
with growing pauses. A sender that dies between the answer and its note sends once more. Addresses and passwords are secrets: they
are in no message, and what smtplib would raise, which holds them, goes no further than here.
"""

from __future__ import annotations

import smtplib
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from analytics_assets.alerts.messages import Row, as_email, as_json, as_slack
from analytics_assets.alerts.receivers import Mail, Receivers
from analytics_assets.resources import Database
from analytics_assets.sql import query
from analytics_assets.webhooks import post

#: Alerts that are taken at a time, of all organisations; those of one are one message.
MOST_AT_ONCE = 200
#: Messages of a round that a receiver may refuse before the rest is left for later.
_MOST_FAILURES = 3
_MAIL_SECONDS = 5.0


@dataclass
class Delivery:
    """What a round of telling came to. problems: way of telling -> why it failed, without address."""

    delivered: int = 0
    messages: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def send_mail(mail: Mail, notices: list[Row]) -> str | None:
    """Sends an e-mail. None when the server took it for every recipient, else why not; without address or password."""
    try:
        context = ssl.create_default_context(cafile=mail.authorities)
        if mail.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=_MAIL_SECONDS, context=context)
        else:
            server = smtplib.SMTP(mail.host, mail.port, timeout=_MAIL_SECONDS)
        with server:
            if mail.security == "starttls":
                server.starttls(context=context)
            if mail.user and mail.password:
                server.login(mail.user, mail.password)
            refused = server.send_message(as_email(notices, mail))
    except smtplib.SMTPRecipientsRefused:
        return "the mail server refused every recipient"
    except smtplib.SMTPResponseException as error:
        # The server's text may quote what it was told.
        return f"the mail server answered {error.smtp_code}"
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"no e-mail sent ({type(error).__name__})"
    return f"the mail server refused {len(refused)} of {len(mail.recipients)} recipients" if refused else None


def _tell(receivers: Receivers, channel: str, notices: list[Row]) -> str | None:
    if channel == "webhook" and receivers.webhook:
        return post(receivers.webhook, as_json(notices))
    if channel == "slack" and receivers.slack:
        return post(receivers.slack, as_slack(notices))
    return send_mail(receivers.email, notices) if receivers.email else "nobody is named"


def deliver(database: Database, receivers: Receivers, *, at: datetime | None = None, budget_seconds: float = 15.0) -> Delivery:
    """Sends what is due, one message an organisation, until nothing is, a receiver fails or the time is up.

    A way of telling that fails holds up no other, and a message that is refused none of another organisation: those that were
    refused before come last. at: the moment by which notices are due and quiet hours are read; now by default. The budget leaves a
    call that hangs its own timeouts within the minute that Dagster gives a sensor.
    """
    result = Delivery()
    for channel in receivers.channels:
        _deliver_by(database, receivers, channel, at or datetime.now(UTC), budget_seconds / len(receivers.channels), result)
    return result


def _deliver_by(
    database: Database, receivers: Receivers, channel: str, at: datetime, budget_seconds: float, result: Delivery
) -> None:
    until = time.monotonic() + budget_seconds
    failures = 0
    while claimed := database.rows(query("claim_alert_notices"), {"channel": channel, "most": MOST_AT_ONCE, "at": at}):
        digests = [list(group) for _, group in groupby(claimed, key=lambda notice: notice["organization_id"])]
        for notices in sorted(digests, key=lambda digest: any(notice["has_failed"] for notice in digest)):
            if failures == _MOST_FAILURES or time.monotonic() > until:
                # What is left of the round is due again by itself, in a minute.
                return
            problem = _tell(receivers, channel, list(notices))
            _note(database, channel, notices, problem)
            if problem:
                failures += 1
                result.problems[channel] = problem
            else:
                result.delivered += len(notices)
                result.messages += 1


def _note(database: Database, channel: str, notices: list[dict[str, Any]], problem: str | None) -> None:
    database.rows(
        query("note_alert_notices"),
        {
            "channel": channel,
            "organizations": [notice["organization_id"] for notice in notices],
            "alerts": [notice["alert_id"] for notice in notices],
            "transitions": [notice["transition"] for notice in notices],
            "problem": problem,
        },
    )
