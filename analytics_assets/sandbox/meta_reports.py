"""Insights of Meta's Marketing API: reads a request, and puts the answer's rows together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from analytics_assets.sandbox.ads import AdDay, ad_day, money, state_of_day
from analytics_assets.sandbox.hours import days_between, local_date
from analytics_assets.sandbox.world import SandboxOrganization

HOURLY = "hourly_stats_aggregated_by_advertiser_time_zone"
FIELDS = (
    "account_id", "account_name", "account_currency", "date_start", "date_stop", "spend", "impressions", "clicks",
    "inline_link_clicks", "outbound_clicks", "reach", "frequency", "actions", "action_values", "purchase_roas",
)  # fmt: skip
_WINDOWS = ("1d_click", "7d_click", "28d_click", "1d_view", "default")
_PRESETS = {"last_3d": 3, "last_7d": 7, "last_14d": 14, "last_28d": 28, "last_30d": 30, "last_90d": 90}
#: How many days a synchronous call may span.
SYNCHRONOUS_DAYS = 92
# One conversion under the names by which it is repeated. The values are in the order of ads.CONVERSIONS.
_NAMES: tuple[tuple[str, ...], ...] = (
    ("landing_page_view", "omni_landing_page_view"),
    ("add_to_cart", "offsite_conversion.fb_pixel_add_to_cart", "omni_add_to_cart"),
    ("initiate_checkout", "offsite_conversion.fb_pixel_initiate_checkout", "omni_initiated_checkout"),
    ("offsite_conversion.fb_pixel_purchase", "omni_purchase", "purchase"),
)


class Refused(Exception):
    """An answer of the Graph API that is an error."""

    def __init__(
        self,
        message: str,
        code: int,
        *,
        status: int = 400,
        subcode: int | None = None,
        kind: str = "OAuthException",
        headers: Mapping[str, str] | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.headers, self.code = status, headers, code
        self.error: dict[str, Any] = {"message": message, "type": kind, "code": code}
        if subcode is not None:
            self.error["error_subcode"] = subcode
        if transient:
            self.error["is_transient"] = True


def too_much() -> Refused:
    """The report is too large for a synchronous call."""
    return Refused("Please reduce the amount of data you're asking for, then retry your request", 100, subcode=1487534)


@dataclass(frozen=True)
class Insights:
    """A request that was read. step: days that make one row; 0: all of them. windows: of attribution."""

    since: date
    until: date
    step: int
    hourly: bool
    fields: tuple[str, ...]
    windows: tuple[str, ...]


# --- The request -------------------------------------------------------------------------------------------


def _list(params: Mapping[str, str], name: str) -> list[str]:
    """A parameter that is a list: as JSON, or with commas."""
    text = params.get(name, "").strip()
    if not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return [str(item) for item in json.loads(text)]
    except ValueError:
        raise Refused(f"(#100) Param {name} must be an array.", 100) from None


def _chosen(params: Mapping[str, str], name: str, known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(_list(params, name))
    for index, item in enumerate(chosen):
        if item not in known:
            raise Refused(f"(#100) {name}[{index}] must be one of the following values: {', '.join(known)}", 100)
    return chosen


def _range(params: Mapping[str, str], today: date) -> tuple[date, date]:
    text = params.get("time_range")
    if text is None:
        preset = params.get("date_preset", "last_30d")
        if preset in ("today", "yesterday"):
            day = today - timedelta(days=preset == "yesterday")
            return day, day
        if preset not in _PRESETS:
            raise Refused(f"(#100) date_preset must be one of the following values: {', '.join(_PRESETS)}", 100)
        return today - timedelta(days=_PRESETS[preset]), today - timedelta(days=1)
    try:
        value = json.loads(text)
        since, until = date.fromisoformat(value["since"]), date.fromisoformat(value["until"])
    except (ValueError, KeyError, TypeError):
        raise Refused(
            '(#100) Param time_range must be an object such as {"since":"YYYY-MM-DD","until":"YYYY-MM-DD"}', 100
        ) from None
    if since > until:
        raise Refused("(#100) The since of time_range cannot be after its until.", 100)
    return since, until


def _step(params: Mapping[str, str]) -> int:
    text = params.get("time_increment", "all_days").strip('"')
    if text == "all_days":
        return 0
    if text.isdecimal() and 1 <= int(text) <= 90:
        return int(text)
    raise Refused("(#100) Param time_increment must be all_days or a number of days from 1 to 90.", 100)


def read_insights(params: Mapping[str, str], one: SandboxOrganization, now: datetime) -> Insights:
    """The request, checked as the vendor checks it. Raises Refused."""
    if (level := params.get("level", "account").strip('"')) != "account":
        raise Refused(f"(#100) level must be account: the sandbox has no {level}.", 100)
    fields = tuple(_list(params, "fields")) or ("impressions", "spend")
    for name in fields:
        if name not in FIELDS:
            raise Refused(f"(#100) {name} is not valid for fields param.", 100)
    breakdowns = _chosen(params, "breakdowns", (HOURLY,))
    windows = _chosen(params, "action_attribution_windows", _WINDOWS)
    since, until = _range(params, local_date(one.ad_zone, now))
    return Insights(since, until, _step(params), bool(breakdowns), fields, windows)


# --- The rows ----------------------------------------------------------------------------------------------


def _action(name: str, count: int, windows: Sequence[str], by_click: int, by_view: int, is_money: bool = False) -> dict[str, str]:
    """One entry of actions. by_click, by_view: hundredths that came by a click within a day, by a view."""

    def text(value: int) -> str:
        return str(money(value) if is_money else value)

    view = count * by_view // 100
    parts = {"1d_click": (count - view) * by_click // 100, "1d_view": view, "7d_click": count - view, "28d_click": count - view}
    return {"action_type": name, "value": text(count)} | {one: text(parts[one]) for one in windows if parts.get(one)}


def _row(one: SandboxOrganization, request: Insights, days: Sequence[AdDay], hour: int | None) -> dict[str, Any] | None:
    """A row without its dates; None: nothing was delivered. Conversions and people are known by the day alone."""
    found = [
        values for day in days for values in ([day.delivery] if hour is None else [v for h, v in day.hours if h.hour == hour])
    ]
    spend, impressions, clicks, links, outbound, views = map(sum, zip(*found, strict=True)) if found else (0,) * 6
    if not impressions:
        return None
    row: dict[str, Any] = {
        "account_id": one.ad_account, "account_name": one.name, "account_currency": one.ad_currency, "spend": str(money(spend)),
        "impressions": str(impressions), "clicks": str(clicks),
    }  # fmt: skip
    if links:
        row["inline_link_clicks"] = str(links)
    if outbound:
        row["outbound_clicks"] = [_action("outbound_click", outbound, (), 100, 0)]
    windows = request.windows
    actions = [
        _action(name, count, windows, 100, 0)
        for name, count in (("link_click", links), ("post_engagement", links + views), ("video_view", views))
        if count
    ]
    if hour is None:
        # Over several days the same people are met again: of the days' sum 40 per cent remain, and of one day all.
        reach = max(*(day.reach for day in days), sum(day.reach for day in days) * (40 * len(days) + 60) // (100 * len(days)), 1)
        row["reach"], row["frequency"] = str(reach), f"{Decimal(impressions) / reach:.6f}"
        counts = [sum(column) for column in zip(*(day.conversions for day in days), strict=True)]
        by_click, by_view = days[0].by_click_in_a_day, days[0].by_view
        for number, names in enumerate(_NAMES):
            parts = (by_click, by_view) if number else (100, 0)
            actions += [_action(name, counts[number], windows, *parts) for name in names if counts[number]]
        if value := counts[4]:
            row["action_values"] = [_action(name, value, windows, by_click, by_view, True) for name in _NAMES[3]]
            row["purchase_roas"] = [{"action_type": "omni_purchase", "value": f"{Decimal(value) / spend:.6f}"}]
    if actions:
        row["actions"] = actions
    return {name: row[name] for name in request.fields if name in row}


def _rows(
    one: SandboxOrganization, request: Insights, dates: Sequence[date], first_day: date, late: bool, now: datetime
) -> list[str]:
    """The rows of a span of days: one, or one an hour of the clock."""
    today = local_date(one.ad_zone, now)
    days = [ad_day(one, day, late, now) for day in dates if first_day <= day <= today]
    rows = []
    for hour in range(24) if request.hourly else (None,):
        row = _row(one, request, [day for day in days if day.hours], hour)
        if row is not None:
            row |= {"date_start": dates[0].isoformat(), "date_stop": dates[-1].isoformat()}
            if hour is not None:
                row[HOURLY] = f"{hour:02}:00:00 - {hour:02}:59:59"
            rows.append(json.dumps(row))
    return rows


@lru_cache(maxsize=4096)
def _day_rows(one: SandboxOrganization, request: Insights, day: date, late: bool, now: datetime) -> list[str]:
    return _rows(one, request, [day], day, late, now)


def insight_rows(request: Insights, one: SandboxOrganization, first_day: date, late: bool, now: datetime) -> list[str]:
    """All rows of a request, each as JSON, by date and hour; what is zero is left out."""
    span = list(days_between(request.since, request.until))
    step, today = request.step or len(span), local_date(one.ad_zone, now)
    rows: list[str] = []
    # The dates of a day's row are its own, whatever span was asked for: so its rows are made once.
    of_a_day = Insights(date.min, date.max, 1, request.hourly, request.fields, request.windows)
    for start in range(0, len(span), step):
        dates = span[start : start + step]
        if dates[-1] < first_day or dates[0] > today:
            continue
        if step == 1:
            since = datetime.fromtimestamp(state_of_day(one, dates[0], late, now), UTC)
            rows += _day_rows(one, of_a_day, dates[0], late, since)
        else:
            rows += _rows(one, request, dates, first_day, late, now)
    return rows
