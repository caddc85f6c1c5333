"""Insights in words: what, how much, since when, compared with what, and what to do. Every number of the text is in its figures."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from analytics_assets.insights.baseline import BASELINE_DAYS, WEEK
from analytics_assets.insights.grouping import Insight
from analytics_assets.insights.incidents import Incident
from analytics_assets.insights.series import Series

_NAMES = {
    "google_analytics": "Google Analytics",
    "meta_ads": "Meta Ads",
    "woocommerce": "WooCommerce",
    "shopify": "Shopify",
    "events": "tracked events",
}
_SHOP = {"total_sales", "orders", "gross_sales", "items_sold", "customers_new"}
_BAD_UP = {"refunds_amount", "refunds_count", "cancelled_orders", "discounts"}
_MOST_MEMBERS = 6
_UNSEEN_DAYS = 7


def channel_name(channel: str) -> str:
    """As people write it."""
    return _NAMES.get(channel, channel.replace("_", " "))


def number(value: float) -> str:
    """As it is read: no decimals from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:,.2f}"


def _change(incident: Incident) -> float | None:
    return 100 * (incident.actual / incident.expected - 1) if incident.expected > 0 else None


def _told(change: float | None) -> str:
    if change is None:
        return "where none was expected"
    return f"{abs(change):,.0f} % {'above' if change > 0 else 'below'} the usual"


def _advice(series: Series, incident: Incident) -> list[str]:
    metric, channel = series.metric, _NAMES.get(series.channel, series.channel)
    if incident.kind == "stuck":
        return [f"Look at the connection of {channel}: the same value hour after hour is seldom what happened."]
    if metric in _BAD_UP:
        return (
            [f"See which products and orders of {channel} they are, and whether one cause stands behind them."]
            if incident.up
            else [f"See whether {channel} still reports them as before."]
        )
    if metric == "ad_spend":
        return [f"Compare budgets and bids in {channel} with what was planned, and pause what nobody planned."]
    if series.channel == "meta_ads":
        return [f"Look for campaigns of {channel} that were begun, stopped, limited or disapproved."]
    if incident.up:
        return [
            "See whether a campaign or a mention explains it; keep stock and support in step.",
            f"If nothing explains it, look for orders or visits that {channel} counts twice.",
        ]
    if metric in _SHOP or metric in ("purchases", "purchase_revenue", "checkouts"):
        return [
            "Place an order as a customer would, on a telephone too.",
            "Ask the payment provider for failed payments, and look at what was changed last.",
        ]
    return [
        "Open the site, and see that its tracking still loads.",
        "Compare with other channels: if only one fell, its tag or its traffic has.",
    ]


def describe(insight: Insight, start: datetime) -> dict[str, Any]:
    """The row of an insight as private.store_insights() takes it. Times in the text are the organisation's."""
    lead, incident = insight.lead, insight.incident
    zone = ZoneInfo(lead.organization.time_zone)
    detected = start + timedelta(hours=incident.detected)
    first, last = start + timedelta(hours=incident.first), start + timedelta(hours=incident.last + 1)
    name, channel = lead.metric.replace("_", " "), _NAMES.get(lead.channel, lead.channel)
    unit = f" {lead.organization.currency}" if lead.unit == "money" else ""
    change = _change(incident)
    since = f"{first.astimezone(zone):%a %d %b %H:%M}"
    until = f"{last.astimezone(zone):%a %d %b %H:%M}"
    what = {
        "stuck": f"{name} of {channel} repeat the same value",
        "drift": f"{name} of {channel} drift {'up' if incident.up else 'down'}",
    }.get(incident.kind, f"{name} of {channel}: {_told(change)}")
    sentences = [
        f"From {since} to {until} ({lead.organization.time_zone}) {name} of {channel} came to {number(incident.actual)}{unit}, "
        f"where {number(incident.expected)}{unit} were to be expected: {_told(change)}.",
        f"Compared with the same hours of the {BASELINE_DAYS} days before, by weekday and by the level of the last seven days.",
    ]
    if incident.kind == "drift":
        sentences.insert(1, f"The {WEEK // 24} days before that hour depart together from the weeks before them.")
    others = [(series, one) for series, one in insight.members if series is not lead]
    if others:
        moved = ", ".join(
            f"{series.metric.replace('_', ' ')} of {_NAMES.get(series.channel, series.channel)} ({_told(_change(one))})"
            for series, one in others[:_MOST_MEMBERS]
        )
        sentences.append(
            f"With it moved {moved}" + (f" and {len(others) - _MOST_MEMBERS} more." if len(others) > _MOST_MEMBERS else ".")
        )
    if insight.stake is not None:
        sentences.append(f"At stake so far: {number(insight.stake)} {lead.organization.currency}.")
    if incident.over is not None:
        sentences.append(
            "It has lasted for three days and counts as the new usual."
            if incident.over == incident.detected + 72 and incident.last >= incident.over - 6
            else "It is over."
        )
    return {
        "organization_id": str(lead.organization.id),
        "insight_key": insight.key,
        "starts_at": detected.isoformat(),
        "period_start": first.isoformat(),
        "period_end": last.isoformat(),
        "title": f"{what[0].upper()}{what[1:]}, since {since}"[:255],
        "description": " ".join(sentences),
        "severity": insight.severity,
        "confidence_score": insight.confidence,
        "data_points": {
            "kind": incident.kind,
            "channel": lead.channel,
            "metric": lead.metric,
            "unit": lead.unit,
            "direction": "up" if incident.up else "down",
            "actual": round(incident.actual, 4),
            "expected": round(incident.expected, 4),
            "change_percent": None if change is None else round(change, 1),
            "score": round(max(one.peak for _, one in insight.members), 2),
            "horizon_hours": incident.scale,
            "usual_day": round(incident.daily, 4),
            "share_of_day": round(insight.share, 4),
            "at_stake": None if insight.stake is None else round(insight.stake, 2),
            "currency": lead.organization.currency,
            "baseline_days": BASELINE_DAYS,
            "series": [
                {
                    "channel": series.channel,
                    "metric": series.metric,
                    "actual": round(one.actual, 4),
                    "expected": round(one.expected, 4),
                    "score": round(one.peak, 2),
                }
                for series, one in insight.members
            ],
        },
        "recommendations": _advice(lead, incident),
        "closed_at": None if incident.over is None else (start + timedelta(hours=incident.over + 1)).isoformat(),
        "expires_at": (last + timedelta(days=_UNSEEN_DAYS)).isoformat(),
    }
