"""A Google Analytics property on the loopback address: how it is read in tests, and what it answers."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import Response

from analytics_assets.sources.connector import JSON, RawPage, Source
from analytics_assets.sources.failures import SourceFailure
from analytics_assets.sources.google_analytics import REPORTS, GoogleAnalytics
from analytics_assets.sources.report_windows import LocalDays
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, source, task, with_connector

STATIC = {"access_token": "ya29.static-token-of-the-test"}
METADATA = {"currencyCode": "EUR", "timeZone": "Europe/Berlin"}
BERLIN = ZoneInfo("Europe/Berlin")


def vendors(vendor: Vendor) -> Vendors:
    return Vendors(
        google_url=vendor.url,
        google_token_url=f"{vendor.url}/token",
        google_client_id="deployment-client",
        google_client_secret="deployment-secret",
    )


def property_of(secrets: dict[str, Any] = STATIC) -> Source:
    return source("google_analytics", {"property_id": "123"}, secrets)


def days(first: str, last: str, zone: ZoneInfo = BERLIN) -> tuple[datetime, datetime]:
    return LocalDays(date.fromisoformat(first), date.fromisoformat(last)).window(zone)


def read(
    vendor: Vendor,
    stream: str = "hourly",
    window: tuple[datetime, datetime] | None = None,
    position: JSON | None = None,
    *,
    secrets: dict[str, Any] = STATIC,
    page_size: int | None = None,
    **options: Any,
) -> list[RawPage]:
    """The pages of a window of property 123; without a window, of three days in November."""
    wanted = task(stream, *(window or days("2026-11-20", "2026-11-22")))
    found: list[RawPage] = with_connector(
        GoogleAnalytics, property_of(secrets), vendors(vendor), lambda one: gathered(one.pages(wanted, position)),
        page_size=page_size, **options,
    )  # fmt: skip
    return found


def failure(vendor: Vendor, **options: Any) -> SourceFailure:
    """What reading ends with."""
    with pytest.raises(SourceFailure) as info:
        read(vendor, **options)
    return info.value


def account(vendor: Vendor) -> Any:
    return with_connector(GoogleAnalytics, property_of(), vendors(vendor), lambda one: one.account())


def row(label: str, *values: str) -> JSON:
    return {"dimensionValues": [{"value": label}], "metricValues": [{"value": value} for value in values]}


def report(stream: str, rows: list[JSON], count: int | None = None, **more: Any) -> JSON:
    """An answer as Google writes it: rows and rowCount are left out where there are none."""
    asked = REPORTS[stream]
    answer: JSON = {
        "dimensionHeaders": [{"name": asked.dimension}],
        "metricHeaders": [{"name": name, "type": "TYPE_INTEGER"} for name in asked.metrics],
    }
    if rows:
        answer |= {"rows": rows, "rowCount": len(rows) if count is None else count}
    return answer | {"metadata": METADATA, "kind": "analyticsData#runReport"} | more


def hours(*labels: str) -> list[JSON]:
    return [row(label, *(str(number) for number in range(10))) for label in labels]


def listed(rows: list[JSON], change: Callable[[int, JSON], JSON] = lambda _, answer: answer) -> Callable[[Asked], Response]:
    """Answers with the rows that are asked for; ``change`` is given the offset and the answer."""

    def answer(asked: Asked) -> Response:
        offset, limit = int(asked.json["offset"]), int(asked.json["limit"])
        return reply(change(offset, report("hourly", rows[offset : offset + limit], len(rows))))

    return answer


def error(status: int, code: str, message: str, **headers: str) -> Callable[[Asked], Response]:
    """Answers with an error in Google's form."""
    return lambda _: reply({"error": {"code": status, "message": message, "status": code}}, status, **headers)
