"""A Meta ad account on the loopback address: how it is read in tests, and what it answers."""

import hmac
import json
from collections.abc import Callable
from datetime import date, datetime
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import Response

from analytics_assets.sources.connector import JSON, RawPage
from analytics_assets.sources.failures import SourceFailure
from analytics_assets.sources.meta_ads import MetaAds
from analytics_assets.sources.report_windows import LocalDays
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, source, task, with_connector

TOKEN = "EAAtoken0of0the0test"
SECRETS = {"access_token": TOKEN}
BERLIN = ZoneInfo("Europe/Berlin")
HOURLY = "hourly_stats_aggregated_by_advertiser_time_zone"
PROOF = hmac.new(b"the-app-secret", TOKEN.encode(), sha256).hexdigest()


def days(first: str, last: str, zone: ZoneInfo = BERLIN) -> tuple[datetime, datetime]:
    return LocalDays(date.fromisoformat(first), date.fromisoformat(last)).window(zone)


ONE_DAY, THREE_DAYS = days("2026-11-20", "2026-11-20"), days("2026-11-20", "2026-11-22")


def work(
    vendor: Vendor,
    doing: Callable[[MetaAds], Any],
    secrets: dict[str, Any] = SECRETS,
    app_secret: str = "",
    page_size: int | None = None,
    **options: Any,
) -> Any:
    """What it does with a connector of account 7001 comes to. app_secret: the deployment's."""
    one = source("meta_ads", {"account_id": "7001"}, secrets)
    vendors = Vendors(meta_url=vendor.url, meta_app_secret=app_secret)
    return with_connector(MetaAds, one, vendors, doing, page_size=page_size, **options)


def read(
    vendor: Vendor,
    stream: str = "hourly",
    window: tuple[datetime, datetime] = THREE_DAYS,
    position: JSON | None = None,
    purpose: str = "incremental",
    **options: Any,
) -> list[RawPage]:
    wanted = task(stream, *window, purpose)
    found: list[RawPage] = work(vendor, lambda one: gathered(one.pages(wanted, position)), **options)
    return found


def failure(vendor: Vendor, **options: Any) -> SourceFailure:
    """What reading ends with."""
    with pytest.raises(SourceFailure) as info:
        read(vendor, **options)
    return info.value


def hour(day: str, number: int, **more: Any) -> JSON:
    values = {"spend": "12.34", "impressions": "1000", "clicks": "21"}
    return {
        "account_id": "7001", "account_currency": "EUR", **values, "date_start": day, "date_stop": day,
        HOURLY: f"{number:02}:00:00 - {number:02}:59:59", **more,
    }  # fmt: skip


def daily(day: str, **more: Any) -> JSON:
    return {name: value for name, value in hour(day, 0).items() if name != HOURLY} | {"reach": "800", "frequency": "1.25"} | more


class Meta:
    """An ad account with rows, given page by page under cursors c1, c2, ...

    Attributes:
        first: what insights, and orders of background reports, are answered with in place of rows.
        statuses: what a background report says of itself, one after the other, the last one ever after.
    """

    def __init__(self, *rows: JSON, zone: str = "Europe/Berlin", currency: str = "EUR", status: Any = 1, **headers: str) -> None:
        self.rows, self.headers = list(rows), headers
        self.account: JSON = {
            "currency": currency, "timezone_name": zone, "timezone_offset_hours_utc": 1, "account_status": status,
            "name": "The Shop", "id": "act_7001",
        }  # fmt: skip
        self.first: Callable[[Asked], Response] | None = None
        self.statuses: list[JSON] = [{"async_status": "Job Completed", "async_percent_completion": 100}]
        self.change: Callable[[int, JSON], JSON] = lambda _, answer: answer

    def __call__(self, asked: Asked) -> Response:
        node, _, edge = asked.path.removeprefix("/v26.0/").partition("/")
        if node == "act_7001" and not edge:
            return reply(self.account)
        if self.first is not None and edge:
            return self.first(asked)
        if asked.method == "POST":
            return reply({"report_run_id": "6001"})
        if node == "6001" and not edge:
            return reply(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        start, limit = int(asked.params.get("after", "c0")[1:]), int(asked.params["limit"])
        answer: JSON = {"data": self.rows[start : start + limit]}
        if answer["data"]:
            answer["paging"] = {"cursors": {"before": f"c{start}", "after": f"c{start + limit}"}}
            if start + limit < len(self.rows):
                # Followed, it would lead elsewhere with the token.
                answer["paging"]["next"] = f"http://127.0.0.1:9/elsewhere?access_token={TOKEN}"
        return reply(self.change(start, answer), 200, **self.headers)


def data_calls(vendor: Vendor) -> list[Asked]:
    """Calls for rows, and orders of background reports."""
    return [asked for asked in vendor.asked if asked.path.endswith("/insights")]


HOURS = [hour("2026-11-20", number) for number in range(5)]


def graph(code: int, message: str = "as it says", status: int = 400, **more: Any) -> Callable[[Asked], Response]:
    """Answers with an error in the Graph API's form."""
    error = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A1", **more}
    return lambda _: reply({"error": error}, status)


def business_usage(percent: int, minutes: int = 0) -> dict[str, str]:
    usage = {"type": "ads_insights", "call_count": 3, "total_cputime": percent, "total_time": 1}
    return {"X_Business_Use_Case_Usage": json.dumps({"7001": [usage | {"estimated_time_to_regain_access": minutes}]})}


def insights_usage(percent: float) -> dict[str, str]:
    return {"X_FB_Ads_Insights_Throttle": json.dumps({"app_id_util_pct": 1.5, "acc_id_util_pct": percent})}
