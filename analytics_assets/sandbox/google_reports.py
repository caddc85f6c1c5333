"""runReport of the Google Analytics Data API (v1beta): reads a request, and puts the answer's rows together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any

from analytics_assets.sandbox.hours import QUARTER, days_between, local_date
from analytics_assets.sandbox.traffic import CHANNELS, METRICS, MONEY, Values, added, quarter_of_day, value_of, visible_hours
from analytics_assets.sandbox.world import SandboxOrganization

DIMENSIONS = ("dateHour", "date", "sessionDefaultChannelGroup")
#: Name and number of a metric's type: clients that ask for numbers get them.
_INTEGER, _SECONDS, _CURRENCY = ("TYPE_INTEGER", 1), ("TYPE_SECONDS", 4), ("TYPE_CURRENCY", 9)
_FIELDS = frozenset({
    "property", "dateRanges", "dimensions", "metrics", "offset", "limit", "orderBys", "keepEmptyRows", "returnPropertyQuota",
    "currencyCode", "metricAggregations", "dimensionFilter", "metricFilter", "cohortSpec", "comparisons",
})  # fmt: skip
_NOT_SERVED = ("metricAggregations", "dimensionFilter", "metricFilter", "cohortSpec", "comparisons")
_DEFAULT_LIMIT, _MOST_ROWS = 10_000, 250_000


class Invalid(Exception):
    """The request is refused: 400 INVALID_ARGUMENT."""


def metric_type(metric: str) -> tuple[str, int]:
    """Name and number of a metric's type."""
    if metric in MONEY:
        return _CURRENCY
    if metric in ("userEngagementDuration", "averageSessionDuration"):
        return _SECONDS
    return _INTEGER


@dataclass(frozen=True)
class Order:
    """One of orderBys: by the dimension or the metric at an index."""

    by_metric: bool
    index: int
    descending: bool


@dataclass(frozen=True)
class Report:
    """A request that was read. ranges: (name, first day, last day)."""

    ranges: tuple[tuple[str, date, date], ...]
    dimensions: tuple[str, ...]
    metrics: tuple[str, ...]
    orders: tuple[Order, ...]
    limit: int
    offset: int
    keep_empty: bool
    with_quota: bool


# --- The request -------------------------------------------------------------------------------------------


def _day(text: Any, today: date) -> date:
    if text == "today":
        return today
    if text == "yesterday":
        return today - timedelta(days=1)
    try:
        if isinstance(text, str) and text.endswith("daysAgo"):
            return today - timedelta(days=int(text.removesuffix("daysAgo")))
        if isinstance(text, str) and len(text) == 10:
            return date.fromisoformat(text)
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"Invalid date: {text}. The date must be YYYY-MM-DD, NdaysAgo, yesterday, or today.")


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise Invalid(f"Invalid value at '{name}' (TYPE_INT64), {json.dumps(value)}") from None
    if number < 0:
        raise Invalid(f"The {name} must be at least 0, not {number}.")
    return number


def _names(body: Mapping[str, Any], field: str, known: Sequence[str], most: int) -> tuple[str, ...]:
    items = body.get(field, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Invalid(f"Invalid value at '{field}'")
    if len(items) > most:
        raise Invalid(
            f"Requests are limited to {most} {field} within a nested request. This request is for {len(items)} {field}."
        )
    names = tuple(str(item.get("name", "")) for item in items)
    for name in names:
        if name not in known:
            raise Invalid(f"Field {name} is not a valid {field[:-1]}. For a list of valid dimensions and metrics, see metadata.")
    if len(set(names)) < len(names):
        raise Invalid(f"Duplicate {field} in request.")
    return names


def _orders(body: Mapping[str, Any], dimensions: Sequence[str], metrics: Sequence[str]) -> tuple[Order, ...]:
    orders = []
    for item in body.get("orderBys", []):
        by_metric = "metric" in item
        name = item.get("metric", {}).get("metricName") if by_metric else item.get("dimension", {}).get("dimensionName")
        names = metrics if by_metric else dimensions
        if name not in names:
            raise Invalid(f"OrderBy field {name} is not in the request's {'metrics' if by_metric else 'dimensions'}.")
        orders.append(Order(by_metric, names.index(name), bool(item.get("desc"))))
    # Without a wish the rows come by the first metric, the largest first, as the vendor does it: not by time.
    return tuple(orders) or ((Order(True, 0, True),) if metrics else ())


def _ranges(body: Mapping[str, Any], today: date) -> tuple[tuple[str, date, date], ...]:
    ranges = body.get("dateRanges")
    if not isinstance(ranges, list) or not 1 <= len(ranges) <= 4:
        raise Invalid("Requests must have 1 to 4 dateRanges.")
    found = []
    for number, item in enumerate(ranges):
        first, last = _day(item.get("startDate"), today), _day(item.get("endDate"), today)
        if first > last:
            raise Invalid(f"The startDate {first} is after the endDate {last}.")
        found.append((str(item.get("name") or f"date_range_{number}"), first, last))
    return tuple(found)


def read_report(body: Any, one: SandboxOrganization, now: datetime) -> Report:
    """The request, checked as the vendor checks it. Raises Invalid."""
    if not isinstance(body, dict):
        raise Invalid("Invalid JSON payload received.")
    for name in body:
        if name not in _FIELDS:
            raise Invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    if refused := [name for name in _NOT_SERVED if body.get(name)]:
        raise Invalid(f"{refused[0]} is not served by the sandbox.")
    if body.get("currencyCode") not in (None, "", one.currency):
        raise Invalid(f"currencyCode: the sandbox reports in the property's {one.currency} alone.")
    dimensions = _names(body, "dimensions", DIMENSIONS, 9)
    metrics = _names(body, "metrics", METRICS, 10)
    if not dimensions and not metrics:
        raise Invalid("Requests must have at least one dimension or metric.")
    return Report(
        _ranges(body, local_date(one.property_zone, now)), dimensions, metrics, _orders(body, dimensions, metrics),
        min(_number(body, "limit") or _DEFAULT_LIMIT, _MOST_ROWS), _number(body, "offset"),
        bool(body.get("keepEmptyRows")), bool(body.get("returnPropertyQuota")),
    )  # fmt: skip


# --- The rows ----------------------------------------------------------------------------------------------

# Dimension values, metric values to sort by, and the row as JSON with the exact ones.
_Row = tuple[tuple[str, ...], tuple[float, ...], str]
_Part = tuple[tuple[str, ...], Values]


def _split(values: Values, channel: int) -> Values:
    """The part of a channel; the parts of all channels add up to the whole."""
    before, share = sum(weight for _, weight in CHANNELS[:channel]), CHANNELS[channel][1]
    return tuple(value * (before + share) // 100 - value * before // 100 for value in values)


def _parts(one: SandboxOrganization, day: date, late: bool, now: datetime, dimensions: Sequence[str]) -> list[_Part]:
    """What a day adds: dimension values with metric values, as fine as the dimensions ask."""
    parts: list[_Part] = []
    text = f"{day:%Y%m%d}"
    for hour, values in visible_hours(one, day, late, now):
        named = {"date": text, "dateHour": f"{text}{hour.hour:02}"}
        if "sessionDefaultChannelGroup" not in dimensions:
            parts.append((tuple([named[name] for name in dimensions]), values))
            continue
        for number, (channel, _) in enumerate(CHANNELS):
            if any(part := _split(values, number)):
                named["sessionDefaultChannelGroup"] = channel
                parts.append((tuple([named[name] for name in dimensions]), part))
    return parts


def _rows(parts: list[_Part], dimensions: Sequence[str], metrics: Sequence[str], extra: tuple[str, ...]) -> list[_Row]:
    if "dateHour" not in dimensions:
        parts = sorted(parts, key=lambda part: part[0])
        parts = [(key, added([values for _, values in group])) for key, group in groupby(parts, key=lambda part: part[0])]
    rows = []
    for key, values in parts:
        found = [value_of(metric, values, hour="dateHour" in dimensions) for metric in metrics]
        names = ",".join([f'{{"value":{json.dumps(name)}}}' for name in key + extra])
        numbers = ",".join([f'{{"value":"{value}"}}' for value in found])
        rows.append((key + extra, tuple(map(float, found)), f'{{"dimensionValues":[{names}],"metricValues":[{numbers}]}}'))
    return rows


def _sort_key(order: Order) -> Callable[[_Row], Any]:
    return lambda row: row[1 if order.by_metric else 0][order.index]


@lru_cache(maxsize=4096)
def _day_rows(
    one: SandboxOrganization, day: date, late: bool, now: datetime, dimensions: tuple[str, ...], metrics: tuple[str, ...]
) -> list[_Row]:
    return _rows(_parts(one, day, late, now, dimensions), dimensions, metrics, ())


def report_rows(report: Report, one: SandboxOrganization, first_day: date, late: bool, now: datetime) -> list[_Row]:
    """All rows of a report, in their order."""
    rows: list[_Row] = []
    today, several = local_date(one.property_zone, now), len(report.ranges) > 1
    by_day = bool({"date", "dateHour"} & set(report.dimensions)) and not several
    for name, first, last in report.ranges:
        days = days_between(max(first, first_day), min(last, today))
        if by_day:
            for day in days:
                # The moment from which the day says what it says now: so its rows are made once.
                since = datetime.fromtimestamp(quarter_of_day(one, day, late, now) * QUARTER, UTC)
                rows += _day_rows(one, day, late, since, report.dimensions, report.metrics)
        else:
            parts = [part for day in days for part in _parts(one, day, late, now, report.dimensions)]
            rows += _rows(parts, report.dimensions, report.metrics, (name,) if several else ())
    if not report.keep_empty and report.metrics:
        rows = [row for row in rows if any(row[1])]
    for order in reversed(report.orders):
        rows.sort(key=_sort_key(order), reverse=order.descending)
    return rows
