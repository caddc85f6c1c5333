"""What answers of the Google Analytics Data API mean: its errors as failures, and whether a report can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.http import Response, error_text, redact, retry_after
from analytics_assets.sources.report_values import is_currency, is_number, shown
from analytics_assets.sources.report_windows import LocalDays, known_zone

# Daily quotas begin anew there.
_PACIFIC = ZoneInfo("America/Los_Angeles")
# A tenth of what a standard property has an hour, in all and for one project. A 360 property has ten times as much, which
# its answers do not tell.
_LOW = {"tokensPerHour": 4_000, "tokensPerProjectPerHour": 1_400}


@dataclass(frozen=True)
class Report:
    """What is asked for: metrics by one dimension, dateHour (2026112214) or date (20261122), in the property's zone."""

    dimension: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A page of a report that was read.

    Attributes:
        rows, row_count: on this page, and in all.
        first, last: the dimension's value of the first and the last row; "" where there is none.
        broken: why it cannot be read, where it cannot; the rest then says what could be read before.
    """

    time_zone: str = ""
    currency: str = ""
    rows: int = 0
    row_count: int = 0
    first: str = ""
    last: str = ""
    flags: tuple[str, ...] = ()
    sameness: bytes | None = None
    broken: str = ""


# --- Errors ------------------------------------------------------------------------------------------------


def _next_midnight(moment: datetime) -> datetime:
    tomorrow = moment.astimezone(_PACIFIC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), _PACIFIC)


def _quota_returns(message: str, response: Response) -> datetime:
    """When a quota that is used up is there again: Google says which one it is, and mostly not until when."""
    said, now = message.lower(), response.fetched_at
    if "concurrent" in said:
        return now + timedelta(seconds=30)
    if "per minute" in said:
        return now + timedelta(seconds=60)
    if re.search(r"per day|daily|24 hours", said):
        return _next_midnight(now).astimezone(now.tzinfo)
    return now + timedelta(seconds=1800)


def refusal_of(property_id: str, response: Response, token: str) -> SourceFailure | None:
    """What an answer says went wrong; None for a status of success. ``token``: kept out of messages."""
    status = response.status
    if 200 <= status < 400:
        return None
    try:
        error = json.loads(response.body)["error"]
        code, message = str(error.get("status", "")), str(error.get("message", ""))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        code, message = "", ""
    text = message.encode("utf-8", "replace") if message else response.body
    said = redact(error_text(text), [token]) or "without a word"
    name = f"property {property_id}"
    if status == 401:
        return Reauthorize(f"{name}: Google does not accept the credentials ({said})", status=status)
    if status == 429:
        at = retry_after(response.headers, response.fetched_at)
        if at is None and code:
            at = _quota_returns(message, response)
        return Throttled(f"{name}: a quota is used up ({said})", retry_at=at, status=status)
    if status == 408 or status >= 500:
        return RetryLater(f"{name}: Google answers HTTP {status} ({said})", status=status)
    if not code:
        return Bug(f"{name}: HTTP {status} without an error of Google's ({said})", status=status)
    if status == 403:
        return PermissionDenied(f"{name}: {said}", status=status)
    if status in (400, 404):
        return WrongConfiguration(f"{name}: Google refuses the report ({code}: {said})", status=status)
    return Bug(f"{name}: HTTP {status} ({code}: {said})", status=status)


# --- Reports -----------------------------------------------------------------------------------------------


class _Broken(ValueError):
    """Why an answer cannot be read."""


def account_of(answer: Any) -> tuple[str, str]:
    """Zone and currency that an answer states. Raises ValueError, which names field and value."""
    metadata = answer.get("metadata") if isinstance(answer, dict) else None
    if not isinstance(metadata, dict):
        raise _Broken(f"metadata: {shown(metadata)} is no object")
    zone, currency = metadata.get("timeZone"), metadata.get("currencyCode")
    if known_zone(zone) is None:
        raise _Broken(f"metadata.timeZone: {shown(zone)} is no time zone")
    if not is_currency(currency):
        raise _Broken(f"metadata.currencyCode: {shown(currency)} is no currency")
    return str(zone), str(currency)


def _check_headers(answer: Mapping[str, Any], field: str, wanted: tuple[str, ...], has_rows: bool) -> None:
    headers = answer.get(field) or []
    names = (
        [header.get("name") if isinstance(header, dict) else header for header in headers] if isinstance(headers, list) else None
    )
    # An answer without rows may come without headers too.
    if names != list(wanted) and (has_rows or names):
        raise _Broken(f"{field}: {shown(names)} in place of {', '.join(wanted)}")


def _texts(row: Any, field: str, number: int, count: int) -> list[Any]:
    cells = row.get(field) if isinstance(row, dict) else None
    if not isinstance(cells, list) or len(cells) != count or not all(isinstance(cell, dict) for cell in cells):
        raise _Broken(f"row {number}: {field} {shown(cells)} in place of {count} values")
    return [cell.get("value") for cell in cells]


def _labels(report: Report, days: LocalDays) -> set[str]:
    """Every value that the dimension may have."""
    dates = [f"{day:%Y%m%d}" for day in days]
    return {f"{day}{hour:02}" for day in dates for hour in range(24)} if report.dimension == "dateHour" else set(dates)


def _check_rows(rows: list[Any], report: Report, days: LocalDays) -> tuple[str, str]:
    """First and last value of the dimension. Rows are counted from 1, within the page."""
    allowed, first, last = _labels(report, days), "", ""
    for number, row in enumerate(rows, 1):
        (label,) = _texts(row, "dimensionValues", number, 1)
        if not isinstance(label, str) or label not in allowed:
            raise _Broken(f"row {number}: {report.dimension} {shown(label)} is none of {days}, which were asked for")
        if label <= last:
            raise _Broken(f"row {number}: {report.dimension} {shown(label)} comes after {last}")
        first, last = first or label, label
        for metric, value in zip(report.metrics, _texts(row, "metricValues", number, len(report.metrics)), strict=True):
            if not is_number(value):
                raise _Broken(f"row {number} ({label}): {metric} {shown(value)} is no number")
    return first, last


def _flags(answer: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = answer["metadata"]
    flags = [
        flag
        for name, flag in (
            ("subjectToThresholding", "thresholded"),
            ("dataLossFromOtherRow", "other_row"),
            ("samplingMetadatas", "sampled"),
        )
        if metadata.get(name) and metadata[name] != [{}]
    ]
    reasons = metadata.get("dataTruncationReasons") or []
    for reason in reasons if isinstance(reasons, list) else [reasons]:
        message = reason.get("dataTruncationMessage") if isinstance(reason, dict) else None
        flags.append(f"truncated:{str(message or reason)[:60]}")
    # Metrics that the credentials may not see are reported as 0.
    restrictions = metadata.get("schemaRestrictionResponse")
    active = restrictions.get("activeMetricRestrictions") if isinstance(restrictions, dict) else None
    for one in active if isinstance(active, list) else []:
        flags.append(f"restricted:{str(one.get('metricName') if isinstance(one, dict) else one)[:60]}")
    quota = answer.get("propertyQuota")
    for name, low in _LOW.items():
        left = quota.get(name) if isinstance(quota, dict) else None
        remaining = left.get("remaining", 0) if isinstance(left, dict) else None
        if isinstance(remaining, int) and remaining < low:
            flags.append("quota_low")
    return tuple(dict.fromkeys(flags))


def read_answer(answer: Any, report: Report, days: LocalDays, offset: int) -> Answer:
    """A page of a report from the row ``offset`` (from 0) on, checked against what was asked for."""
    zone = currency = ""
    rows: list[Any] = []
    try:
        zone, currency = account_of(answer)
        rows = answer.get("rows") or []
        if not isinstance(rows, list):
            rows = []
            raise _Broken(f"rows: {shown(answer['rows'])} is no list")
        # Absent where there is nothing.
        count = answer.get("rowCount", 0)
        if not isinstance(count, int) or isinstance(count, bool) or (rows and count < offset + len(rows)):
            raise _Broken(f"rowCount: {shown(count)}, with {len(rows)} rows from row {offset} on")
        if count > offset and not rows:
            raise _Broken(f"rowCount: {count}, but no rows from row {offset} on")
        _check_headers(answer, "dimensionHeaders", (report.dimension,), bool(rows))
        _check_headers(answer, "metricHeaders", report.metrics, bool(rows))
        first, last = _check_rows(rows, report, days)
    except _Broken as broken:
        return Answer(zone, currency, len(rows), broken=str(broken))
    # What is left of the quota is another number in each answer.
    same = {name: value for name, value in answer.items() if name != "propertyQuota"}
    sameness = json.dumps(same, sort_keys=True, separators=(",", ":")).encode()
    return Answer(zone, currency, len(rows), count, first, last, _flags(answer), sameness)
