"""Settings of the deployment, from the environment. Reading them touches neither a database nor the network.

A few may also stand in ``settings.json`` of the home folder, where `analytics backfill` notes that partitions have to
reach further back; the environment wins.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

PROJECT_ROOT = Path(__file__).resolve().parent.parent


# Options of libpq that name files, and the variables that stand for them.
_FILE_OPTIONS = "sslrootcert|sslcert|sslkey|sslcrl|sslcrldir|passfile"
_FILE_VARIABLES = ("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLCRLDIR", "PGPASSFILE")


class SettingError(ValueError):
    """A setting that cannot be used; the message names the variable, its value and what is expected."""


def home_folder() -> Path:
    """Folder for what the project keeps on disk."""
    return Path(os.environ.get("ANALYTICS_HOME", "").strip() or PROJECT_ROOT / ".analytics").expanduser().resolve()


def _noted() -> dict[str, str]:
    file = home_folder() / "settings.json"
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise SettingError(f"{file} cannot be read: {error}. Correct or remove it.") from None
    return {str(name): str(value) for name, value in noted.items()} if isinstance(noted, dict) else {}


def note(variable: str, value: str) -> None:
    """Notes a setting for later calls, unless the environment says it anyway."""
    file = home_folder() / "settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(_noted() | {variable: value}, indent=1), encoding="utf-8")
    temporary.replace(file)


def _text(variable: str, default: object) -> str:
    return os.environ.get(variable, "").strip() or _noted().get(variable, "") or str(default)


def _start_date(variable: str, default_days: int) -> date:
    """A date (2010-12-01) or a number of days back from today, UTC."""
    text = _text(variable, default_days)
    if text.isdecimal():
        days = int(text)
        if not 1 <= days <= 36_500:
            raise SettingError(f"{variable}={text}: days back must be 1 to 36500")
        return datetime.now(UTC).date() - timedelta(days=days)
    try:
        start = date.fromisoformat(text)
    except ValueError:
        raise SettingError(f"{variable}={text}: expected a date such as 2010-12-01, or days back such as 31") from None
    if not date(1990, 1, 1) <= start <= datetime.now(UTC).date():
        raise SettingError(f"{variable}={text}: expected a date from 1990-01-01 to today")
    return start


def _days(variable: str, default: int) -> int:
    text = _text(variable, default)
    if not text.isdecimal() or not 1 <= int(text) <= 36_500:
        raise SettingError(f"{variable}={text}: expected a number of days from 1 to 36500")
    return int(text)


def _raw_archive() -> str | None:
    """ANALYTICS_RAW_ARCHIVE: ``local`` is a folder of the home folder."""
    text = _text("ANALYTICS_RAW_ARCHIVE", "")
    return str(home_folder() / "archive" / "raw") if text == "local" else text or None


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    Attributes:
        home: folder for what the project keeps on disk: the embedded server, Dagster's logs.
        database_url: analytics database, or None for the embedded server.
        dagster_database_url: Dagster's own storage, or None for schema ``dagster`` of the analytics database.
        hourly_start, daily_start: first day (UTC) of the hourly and the daily partitions.
        keep_raw_days, keep_hourly_days, keep_daily_days: retention in days; hourly and daily data is never dropped
            from ``hourly_start`` and ``daily_start`` on, however short the retention.
        keep_events_days: retention of tracked events and their sessions, in days; they leave by whole months.
        keep_logs_days, keep_quarantine_days: retention of sync logs, and of what in quarantine is resolved.
        keep_dagster_days: retention of what in Dagster's own storage is superseded.
        raw_archive: where raw pages go before they leave: a folder, or a URL that fsspec knows (s3://bucket/path); None for
            nowhere.
    """

    home: Path
    database_url: str | None
    dagster_database_url: str | None
    hourly_start: date
    daily_start: date
    keep_raw_days: int
    keep_hourly_days: int
    keep_daily_days: int
    keep_events_days: int
    keep_logs_days: int
    keep_quarantine_days: int
    keep_dagster_days: int
    raw_archive: str | None

    @staticmethod
    def load() -> Settings:
        """Reads the environment. Raises SettingError."""
        return Settings(
            home=home_folder(),
            database_url=os.environ.get("DATABASE_URL", "").strip() or None,
            dagster_database_url=os.environ.get("DAGSTER_DATABASE_URL", "").strip() or None,
            hourly_start=_start_date("ANALYTICS_HOURLY_START", 31),
            daily_start=_start_date("ANALYTICS_DAILY_START", 400),
            keep_raw_days=_days("ANALYTICS_KEEP_RAW_DAYS", 30),
            keep_hourly_days=_days("ANALYTICS_KEEP_HOURLY_DAYS", 31),
            keep_daily_days=_days("ANALYTICS_KEEP_DAILY_DAYS", 400),
            keep_events_days=_days("ANALYTICS_KEEP_EVENTS_DAYS", 1096),
            keep_logs_days=_days("ANALYTICS_KEEP_LOGS_DAYS", 90),
            keep_quarantine_days=_days("ANALYTICS_KEEP_QUARANTINE_DAYS", 90),
            keep_dagster_days=_days("ANALYTICS_KEEP_DAGSTER_DAYS", 30),
            raw_archive=_raw_archive(),
        )

    @property
    def keep_days(self) -> dict[str, int]:
        """Retention in days by layer, in the order in which layers leave: a day after its hours."""
        return {
            "raw": self.keep_raw_days,
            "hourly": self.keep_hourly_days,
            "daily": self.keep_daily_days,
            "events": self.keep_events_days,
            "logs": self.keep_logs_days,
            "quarantine": self.keep_quarantine_days,
        }

    def keep_hourly_from(self) -> datetime:
        """Hours before this instant (UTC) are past their retention."""
        return datetime.combine(
            min(self.hourly_start, datetime.now(UTC).date() - timedelta(days=self.keep_hourly_days)),
            datetime.min.time(),
            UTC,
        )

    def keep_daily_from(self) -> date:
        """Days before this date are past their retention."""
        return min(self.daily_start, datetime.now(UTC).date() - timedelta(days=self.keep_daily_days))


@dataclass(frozen=True)
class CollectorSettings:
    """What the environment says of the collector of tracked events.

    Attributes:
        origins: whose pages a browser may send events from; ``*`` for all.
        addresses: what of a visitor's address is stored: truncate (to /24 and /48), none, full.
        proxies: networks whose X-Forwarded-For is believed.
        keep_events_days: older events are past their retention, and rejected.
    """

    origins: tuple[str, ...]
    addresses: str
    proxies: tuple[IPv4Network | IPv6Network, ...]
    keep_events_days: int

    @staticmethod
    def load() -> CollectorSettings:
        """Reads the environment. Raises SettingError."""
        addresses = _text("ANALYTICS_COLLECTOR_ADDRESSES", "truncate")
        if addresses not in ("truncate", "none", "full"):
            raise SettingError(f"ANALYTICS_COLLECTOR_ADDRESSES={addresses}: expected truncate, none or full")
        origins = _list("ANALYTICS_COLLECTOR_ORIGINS", "*")
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise SettingError(f"ANALYTICS_COLLECTOR_ORIGINS: {origin} is no origin such as https://shop.example")
        proxies = []
        for text in _list("ANALYTICS_COLLECTOR_PROXIES", ""):
            try:
                proxies.append(ip_network(text))
            except ValueError:
                raise SettingError(f"ANALYTICS_COLLECTOR_PROXIES: {text} is no network such as 10.0.0.0/8") from None
        return CollectorSettings(origins, addresses, tuple(proxies), _days("ANALYTICS_KEEP_EVENTS_DAYS", 1096))


@dataclass(frozen=True)
class AlertSettings:
    """What the environment says of alerts to operators.

    Attributes:
        after_failures: syncs of a source that fail in a row before an operator is told.
        webhook, slack: addresses to which alerts are sent as JSON, and in the form of Slack's incoming webhooks; secret.
    """

    after_failures: int
    webhook: str | None = field(repr=False)
    slack: str | None = field(repr=False)

    @staticmethod
    def load() -> AlertSettings:
        """Reads the environment. Raises SettingError, which never says an address."""
        failures = _text("ANALYTICS_ALERT_AFTER_FAILURES", 3)
        if not failures.isdecimal() or not 1 <= int(failures) <= 100:
            raise SettingError(f"ANALYTICS_ALERT_AFTER_FAILURES={failures}: expected a number of failures from 1 to 100")
        return AlertSettings(
            int(failures), secret_address("ANALYTICS_ALERT_WEBHOOK_URL"), secret_address("ANALYTICS_ALERT_SLACK_URL")
        )

    @property
    def channels(self) -> dict[str, str]:
        """Addresses by channel."""
        return {name: url for name, url in (("webhook", self.webhook), ("slack", self.slack)) if url}


def secret_address(variable: str) -> str | None:
    """An address from the environment, None where it is not set. Raises SettingError, which never says the address."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    is_near = host in ("localhost", "127.0.0.1", "::1")
    if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not is_near):
        raise SettingError(f"{variable}: expected an address such as https://hooks.example/path (http on this machine only)")
    return text


def _list(variable: str, default: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _text(variable, default).split(",") if part.strip())


def make_paths_absolute() -> None:
    """Makes relative paths of certificates and password files in the environment's URLs absolute.

    What a command starts works in the project's folder: with ``sslrootcert=ca.pem`` the command itself connected, and its web
    server, daemon and workers found no such file.
    """

    def absolute(path: str) -> str:
        return path if path == "system" else os.path.abspath(path)

    for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL"):
        if url := os.environ.get(name):
            os.environ[name] = re.sub(
                rf"([?&](?:{_FILE_OPTIONS})=)([^&]+)", lambda found: found[1] + quote(absolute(unquote(found[2]))), url
            )
    for name in _FILE_VARIABLES:
        if path := os.environ.get(name):
            os.environ[name] = absolute(path)
