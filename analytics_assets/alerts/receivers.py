"""Who is told of alerts: addresses of the deployment, from the environment. They are secrets, and no message says them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from analytics_assets.settings import SettingError, secret_address

_NEAR = ("localhost", "127.0.0.1", "::1")
_ADDRESS = re.compile(r"[^\s@<>,;\"']+@[^\s@<>,;\"']+")


@dataclass(frozen=True)
class Mail:
    """Where e-mail goes out. security: starttls (port 587), tls (465), or none, which only this machine may be spoken to with."""

    host: str
    port: int
    security: str
    sender: str
    recipients: tuple[str, ...]
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    authorities: str | None


@dataclass(frozen=True)
class Receivers:
    """webhook, slack: addresses that take JSON, and the form of Slack's incoming webhooks. Where nothing is set nobody is told."""

    webhook: str | None = field(repr=False)
    slack: str | None = field(repr=False)
    email: Mail | None

    @staticmethod
    def load() -> Receivers:
        """Reads the environment. Raises SettingError, which never says an address or a password."""
        return Receivers(secret_address("ANALYTICS_ALERT_WEBHOOK_URL"), secret_address("ANALYTICS_ALERT_SLACK_URL"), _mail())

    @property
    def channels(self) -> list[str]:
        """The ways by which somebody is told."""
        return [name for name in ("webhook", "slack", "email") if getattr(self, name) is not None]


def _given(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _mail() -> Mail | None:
    recipients = tuple(part.strip() for part in _given("ANALYTICS_ALERT_EMAIL_TO").split(",") if part.strip())
    if not recipients:
        return None
    host, sender = _given("ANALYTICS_SMTP_HOST"), _given("ANALYTICS_ALERT_EMAIL_FROM")
    if not host:
        raise SettingError("ANALYTICS_SMTP_HOST: expected the mail server's name, since ANALYTICS_ALERT_EMAIL_TO is set")
    for variable, addresses in (("ANALYTICS_ALERT_EMAIL_TO", recipients), ("ANALYTICS_ALERT_EMAIL_FROM", (sender,))):
        if not all(_ADDRESS.fullmatch(address) for address in addresses):
            raise SettingError(f"{variable}: expected e-mail addresses such as alerts@shop.example, separated by commas")
    security = _given("ANALYTICS_SMTP_SECURITY") or "starttls"
    if security not in ("starttls", "tls", "none"):
        raise SettingError(f"ANALYTICS_SMTP_SECURITY={security}: expected starttls, tls or none")
    if security == "none" and host not in _NEAR:
        raise SettingError("ANALYTICS_SMTP_SECURITY=none: only a mail server on this machine is spoken to in clear")
    port = _given("ANALYTICS_SMTP_PORT") or {"starttls": "587", "tls": "465", "none": "25"}[security]
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise SettingError(f"ANALYTICS_SMTP_PORT={port}: expected a port from 1 to 65535")
    user, password = _given("ANALYTICS_SMTP_USER"), os.environ.get("ANALYTICS_SMTP_PASSWORD", "")
    if bool(user) != bool(password):
        raise SettingError("ANALYTICS_SMTP_USER and ANALYTICS_SMTP_PASSWORD: expected both or neither")
    authorities = _given("ANALYTICS_SMTP_CA_FILE") or None
    if authorities and not Path(authorities).is_file():
        raise SettingError(f"ANALYTICS_SMTP_CA_FILE={authorities}: there is no such file")
    return Mail(host, int(port), security, sender, recipients, user or None, password or None, authorities)
