"""What answers of Meta's Marketing API mean: its errors as failures, its usage headers, and whether rows can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.http import Response, error_text, redact, retry_after
from analytics_assets.sources.report_values import is_number, shown
from analytics_assets.sources.report_windows import LocalDays

HOURLY = "hourly_stats_aggregated_by_advertiser_time_zone"
#: Windows by which conversions are attributed; each is a field of an action beside its value.
ATTRIBUTION = ("1d_click", "7d_click", "1d_view")
_NUMBERS = ("spend", "impressions", "clicks", "inline_link_clicks", "reach", "frequency")
_ACTIONS = ("actions", "action_values", "outbound_clicks", "purchase_roas")
_HOUR = re.compile(r"([01][0-9]|2[0-3]):00:00 - \1:59:59")

_THROTTLED = {4, 17, 32, 613, *range(80_000, 80_015)}
_TOO_MUCH = 1487534
# The report took the vendor too long.
_TIMED_OUT = {1504018, 1504038, 1504043}
# So long, where the vendor does not say: calls that come earlier count too, and prolong it.
_USUAL_WAIT = timedelta(minutes=5)
_LONGEST_WAIT = timedelta(days=1)


class TooSlow(AskForLess):
    """The vendor gives up on the report; of a shorter window it may not."""


# --- Usage -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """How much of what may be called is called. percent: the highest of all; until: when it is less (UTC), if known."""

    percent: float
    until: datetime | None


def _objects(text: str) -> list[Mapping[str, Any]]:
    """Every object in a header's JSON that has numbers; a header that is no JSON says nothing."""
    try:
        found = [json.loads(text)]
    except (ValueError, RecursionError):
        return []
    objects: list[Mapping[str, Any]] = []
    while found:
        value = found.pop()
        if isinstance(value, dict):
            objects.append(value)
            found += value.values()
        elif isinstance(value, list):
            found += value
    return objects


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def usage_of(response: Response) -> Usage:
    """What the usage headers say."""
    headers, percent, minutes = response.headers, 0.0, 0.0
    for name in ("x-fb-ads-insights-throttle", "x-fb-ads-insights-reach-throttle"):
        for one in _objects(headers.get(name, "")):
            percent = max(percent, _number(one.get("app_id_util_pct")), _number(one.get("acc_id_util_pct")))
    for one in _objects(headers.get("x-business-use-case-usage", "")):
        percent = max(percent, *(_number(one.get(name)) for name in ("call_count", "total_cputime", "total_time")))
        minutes = max(minutes, _number(one.get("estimated_time_to_regain_access")))
    wait = min(timedelta(minutes=min(minutes, 1e6)), _LONGEST_WAIT)
    return Usage(percent, response.fetched_at + wait if minutes > 0 else None)


def pause_until(response: Response) -> datetime:
    """When to come back after this answer (UTC)."""
    usual = response.fetched_at + _USUAL_WAIT
    return usage_of(response).until or retry_after(response.headers, response.fetched_at) or usual


# --- Errors ------------------------------------------------------------------------------------------------


def _code(value: Any) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal() and value.isascii()) else 0


def failure_of(account: str, error: Mapping[str, Any], response: Response, secrets: Collection[str]) -> SourceFailure:
    """An error of the Graph API as a failure. ``account``: act_..., for the message; ``secrets``: kept out of it."""
    status, code, subcode = response.status, _code(error.get("code")), _code(error.get("error_subcode"))
    words = [str(error[name]) for name in ("message", "error_user_title", "error_user_msg") if error.get(name)]
    number = f"code {code}/{subcode}" if subcode else f"code {code}"
    text = redact(error_text("; ".join(words).encode("utf-8", "replace")), secrets)
    said = f"{account}: {text or 'without a word'} ({number})"
    message = text.lower()
    if code in _THROTTLED:
        return Throttled(said, retry_at=pause_until(response), status=status)
    if subcode == _TOO_MUCH or "reduce the amount of data" in message:
        return AskForLess(said, status=status)
    if subcode in _TIMED_OUT:
        return TooSlow(said, status=status)
    if code in (102, 104, 190):
        return Reauthorize(said, status=status)
    if code in (3, 10) or 200 <= code <= 299:
        return PermissionDenied(said, status=status)
    if "appsecret_proof" in message:
        return WrongConfiguration(
            f"{said}; app_secret is not the secret of the app to which the access token belongs: correct app_secret of the "
            "source, or ANALYTICS_META_APP_SECRET of this deployment",
            status=status,
        )
    if code == 2635:
        return WrongConfiguration(f"{said}; set ANALYTICS_META_VERSION to a version that is in force", status=status)
    if subcode == 33 or code == 803:
        return WrongConfiguration(
            f"account_id: there is no {account}, or this access token does not see it. {said}", status=status
        )
    if code == 3018:
        return WrongConfiguration(f"{said}; Meta keeps 37 months: let the source's history begin later", status=status)
    if code in (1, 2) or status >= 500 or error.get("is_transient") is True:
        return RetryLater(said, status=status)
    return Bug(said, status=status)


def read(account: str, response: Response, secrets: Collection[str]) -> Any:
    """The JSON of an answer of success. Raises SourceFailure for any other."""
    status = response.status
    try:
        value = response.json()
    except RetryLater as broken:
        if status == 429:
            raise Throttled(f"{account}: HTTP 429", retry_at=pause_until(response), status=status) from None
        raise RetryLater(f"{account}: {broken}", status=status) from None
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        raise failure_of(account, value["error"], response, secrets)
    said = f"{account}: HTTP {status} ({redact(error_text(response.body), secrets)})"
    if status == 429:
        raise Throttled(said, retry_at=pause_until(response), status=status)
    if status >= 500 or status == 408:
        raise RetryLater(said, status=status)
    if status >= 400:
        raise Bug(said, status=status)
    return value


# --- Rows --------------------------------------------------------------------------------------------------


class _Broken(ValueError):
    """Why an answer cannot be read."""


@dataclass(frozen=True)
class Rows:
    """A page of insights that was read.

    Attributes:
        keys: date, or date and hour, of each row.
        after: cursor of the next page; None where there is none.
        sameness: the rows alone: cursors are others in each answer.
        broken: why it cannot be read, where it cannot.
    """

    count: int
    keys: tuple[str, ...] = ()
    after: str | None = None
    sameness: bytes | None = None
    broken: str = ""


def _after(answer: Mapping[str, Any]) -> str | None:
    paging = answer.get("paging") or {}
    # Its address holds the token, and may lead anywhere: it only says that there is more.
    if not isinstance(paging, dict) or not paging.get("next"):
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    if not isinstance(after, str) or not after:
        raise _Broken(f"paging.cursors.after: {shown(after)}, though there is a next page")
    return after


def _check_actions(row: Mapping[str, Any], field: str, where: str) -> None:
    actions = row.get(field)
    if actions is None:
        return
    if not isinstance(actions, list):
        raise _Broken(f"{where}: {field} {shown(actions)} is no list")
    for action in actions:
        if not isinstance(action, dict) or not isinstance(action.get("action_type"), str):
            raise _Broken(f"{where}: {field} has {shown(action)}, which is no action")
        for name in ("value", *ATTRIBUTION):
            if name in action and not is_number(action[name]):
                raise _Broken(f"{where}: {field} {shown(action['action_type'])} {name} {shown(action[name])} is no number")


def _check_row(row: Any, number: int, days: LocalDays, is_hourly: bool, account_id: str, currency: str) -> str:
    """The row's date, or date and hour."""
    where = f"row {number}"
    if not isinstance(row, dict):
        raise _Broken(f"{where}: {shown(row)} is no object")
    start, stop = row.get("date_start"), row.get("date_stop")
    try:
        day = date.fromisoformat(start) if isinstance(start, str) and len(start) == 10 else None
    except ValueError:
        day = None
    if day is None or day not in days:
        raise _Broken(f"{where}: date_start {shown(start)} is none of {days}, which were asked for")
    if stop != start:
        raise _Broken(f"{where}: date_stop {shown(stop)} is not its date_start {start}")
    key = str(start)
    if is_hourly:
        hour = row.get(HOURLY)
        if not isinstance(hour, str) or not _HOUR.fullmatch(hour):
            raise _Broken(f"{where} ({key}): {HOURLY} {shown(hour)} is no hour such as 14:00:00 - 14:59:59")
        key += f" {hour[:2]}"
    where += f" ({key})"
    if row.get("account_id", account_id) != account_id:
        raise _Broken(f"{where}: account_id {shown(row['account_id'])} is not {account_id}")
    if row.get("account_currency") != currency:
        raise _Broken(f"{where}: account_currency {shown(row.get('account_currency'))} is not {currency}, the account's")
    for name in _NUMBERS:
        if name in row and not is_number(row[name]):
            raise _Broken(f"{where}: {name} {shown(row[name])} is no number")
    for name in _ACTIONS:
        _check_actions(row, name, where)
    return key


def read_rows(answer: Any, days: LocalDays, is_hourly: bool, account_id: str, currency: str) -> Rows:
    """The rows of a page, checked against what was asked for. Rows are counted from 1, within the page."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        return Rows(0, broken=f"data: {shown(data)} is no list of rows")
    keys: dict[str, None] = {}
    try:
        after = _after(answer)
        for number, row in enumerate(data, 1):
            key = _check_row(row, number, days, is_hourly, account_id, currency)
            if key in keys:
                raise _Broken(f"row {number}: {key} is there twice")
            keys[key] = None
    except _Broken as broken:
        return Rows(len(data), broken=str(broken))
    sameness = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    return Rows(len(data), tuple(keys), after, sameness)
