"""Insights of a Meta ad account, from the Marketing API.

Delivery by hours of the account's clock; people, conversions and their value by its days, since Meta does not give them by
the hour. Asked for by dates of the account's calendar; the account says its zone and currency itself.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from analytics_assets.sources.connector import JSON, Account, Connector, RawPage, Source, StreamPolicy, Task
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    RetryLater,
    SourceFailure,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.http import Call, Http, Response
from analytics_assets.sources.meta_answers import (
    ATTRIBUTION,
    HOURLY,
    TooSlow,
    failure_of,
    pause_until,
    read,
    read_rows,
    usage_of,
)
from analytics_assets.sources.report_values import is_currency, shown
from analytics_assets.sources.report_windows import LocalDays, known_zone
from analytics_assets.sources.vendors import Vendors

_DAY = timedelta(days=1)
_USUAL_SIZE = 500
# Wider ones Meta makes in the background.
_SYNCHRONOUS_DAYS = 31
_NEAR, _FULL = 75, 95
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "hourly": ("spend", "impressions", "clicks", "inline_link_clicks", "outbound_clicks", "actions"),
    "daily": ("spend", "impressions", "reach", "frequency", "actions", "action_values", "purchase_roas"),
}
_ACCOUNT_FIELDS = "currency,timezone_name,timezone_offset_hours_utc,account_status,name"
_RUN_FIELDS = "async_status,async_percent_completion,error_code,error_subcode,error_message,error_user_title,error_user_msg"
_STATUS = {
    2: "disabled", 3: "unsettled", 7: "pending_risk_review", 8: "pending_settlement", 9: "in_grace_period",
    100: "pending_closure", 101: "closed",
}  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """Where in a report a page begins.

    Attributes:
        after: cursor; "" at the first page.
        number: of the page, from 1.
        report_run_id: of a report that was made in the background; "" of another.
        time_zone, currency: the account's when the report was begun.
    """

    after: str = ""
    number: int = 1
    report_run_id: str = ""
    time_zone: str = ""
    currency: str = ""


class MetaAds(Connector):
    """An ad account, read with a system user's token that has ads_read."""

    source_type: ClassVar[str] = "meta_ads"
    policies: ClassVar[tuple[StreamPolicy, ...]] = (
        StreamPolicy("hourly", "report", 3 * _DAY, 28 * _DAY, 31 * _DAY),
        StreamPolicy("daily", "report", 3 * _DAY, 28 * _DAY, 90 * _DAY),
    )
    required_settings: ClassVar[tuple[str, ...]] = ("account_id",)
    secret_choices: ClassVar[tuple[tuple[str, ...], ...]] = (("access_token",),)
    #: How long a background report is waited for, in seconds.
    run_seconds: ClassVar[float] = 60.0

    def __init__(self, source: Source, http: Http, vendors: Vendors, *, page_size: int | None = None) -> None:
        super().__init__(source, http, vendors, page_size=page_size)
        self._id = str(source.settings["account_id"]).removeprefix("act_")
        self._name = f"act_{self._id}"
        self._host = urlsplit(vendors.meta_url).netloc
        self._token = str(source.secrets.get("access_token", ""))
        secret = str(source.secrets.get("app_secret") or vendors.meta_app_secret)
        self._proof = hmac.new(secret.encode(), self._token.encode(), sha256).hexdigest() if secret else ""
        self._secrets = [value for value in (self._token, secret, self._proof) if value]
        self._account: Account | None = None

    def secrets(self) -> Mapping[str, Any]:
        return {"used": self._secrets}

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], vendors: Vendors) -> JSON:
        """account_id as its digits; "act_123" is 123."""
        unknown = sorted(set(settings) - {"account_id"})
        if unknown:
            raise WrongConfiguration(f"{unknown[0]!r}: no setting of a Meta Ads source; there is account_id")
        value = settings.get("account_id")
        text = "" if value is None or isinstance(value, bool) else str(value).strip().removeprefix("act_")
        if not re.fullmatch("[1-9][0-9]{0,24}", text):
            raise WrongConfiguration(
                f"account_id: {str(value)[:60]!r} is no ad account; expected its number as Ads Manager shows it, such as "
                "act_123456789"
            )
        return {"account_id": text}

    async def account(self) -> Account:
        """Zone, currency and name of the account; in what state it is, where it is not active, among the notes."""
        _, value = await self._send("GET", self._name, {"fields": _ACCOUNT_FIELDS})
        found = value if isinstance(value, dict) else {}
        zone, currency, status = found.get("timezone_name"), found.get("currency"), found.get("account_status")
        if known_zone(zone) is None:
            raise Bug(
                f"{self._name}: timezone_name {shown(zone)} (timezone_offset_hours_utc "
                f"{shown(found.get('timezone_offset_hours_utc'))}) is no known time zone"
            )
        if not is_currency(currency):
            raise Bug(f"{self._name}: currency {shown(currency)} is not understood")
        notes = () if status in (None, 1) else (f"account_status:{_STATUS.get(status, status)}"[:60],)
        self._account = Account(str(zone), str(currency), str(found.get("name") or ""), notes)
        return self._account

    async def pages(self, task: Task, position: JSON | None = None) -> AsyncIterator[RawPage]:
        """See Connector. A window without rows is one page without rows.

        Raises Throttled between pages where hardly any calls are left, and WindowMoved where rows come twice.
        """
        if task.stream not in _FIELDS:
            raise Bug(f"meta_ads has no stream {task.stream}")
        account = self._account or await self.account()
        zone = ZoneInfo(account.time_zone)
        days = LocalDays.touched(task.start, task.end, zone)
        start = _Place(time_zone=account.time_zone, currency=account.currency)
        place: _Place | None = _Place(**position) if position else None
        if place is None:
            run_id = await self._order(task, days)
            place = _Place("", 1, run_id, account.time_zone, account.currency)
        elif (place.time_zone, place.currency) != (start.time_zone, start.currency):
            raise WindowMoved
        is_resumed, seen = position is not None, set[str]()
        window = days.window(zone)
        while place is not None:
            response, value = await self._read_page(task, days, place, is_resumed)
            is_resumed = False
            rows = read_rows(value, days, task.stream == "hourly", self._id, account.currency)
            if not seen.isdisjoint(rows.keys) or rows.after == place.after:
                raise WindowMoved
            seen.update(rows.keys)
            after = None
            if rows.after is not None:
                after = _Place(rows.after, place.number + 1, place.report_run_id, place.time_zone, place.currency)
            usage = usage_of(response)
            yield RawPage(
                stream=task.stream,
                body=response.body,
                number=place.number,
                fetched_at=response.fetched_at,
                api_version=self.vendors.meta_version,
                time_zone=account.time_zone,
                currency=account.currency,
                records=rows.count,
                position=None if after is None else asdict(after),
                window_start=window[0],
                window_end=window[1],
                flags=("throttle_near",) if usage.percent >= _NEAR else (),
                sameness=rows.sameness,
                broken=rows.broken,
            )
            if after is not None and usage.percent >= _FULL:
                raise Throttled(f"{self._name}: {usage.percent:g} % of its calls are used up", retry_at=pause_until(response))
            place = after

    # --- Reports -------------------------------------------------------------------------------------------

    def _request(self, stream: str, days: LocalDays) -> dict[str, str]:
        span = {"since": days.first.isoformat(), "until": days.last.isoformat()}
        params = {
            "level": "account",
            "fields": ",".join(("account_id", "account_currency", *_FIELDS[stream])),
            "time_range": json.dumps(span, separators=(",", ":")),
            "time_increment": "1",
        }
        if stream == "hourly":
            return params | {"breakdowns": HOURLY}
        return params | {"action_attribution_windows": json.dumps(ATTRIBUTION, separators=(",", ":"))}

    async def _read_page(self, task: Task, days: LocalDays, place: _Place, is_resumed: bool) -> tuple[Response, Any]:
        params = {"limit": str(self.page_size or _USUAL_SIZE)} | ({"after": place.after} if place.after else {})
        path = f"{place.report_run_id or self._name}/insights"
        if not place.report_run_id:
            params = self._request(task.stream, days) | params
        try:
            return await self._send("GET", path, params)
        except TooSlow as failure:
            raise self._less_or_later(days, str(failure)) from None
        except (Bug, WrongConfiguration):
            if not is_resumed:
                raise
            # What was to be continued is no longer there: a background report, or a cursor.
            raise WindowMoved from None

    async def _order(self, task: Task, days: LocalDays) -> str:
        """The id of a background report, when it is complete; "" where the window is asked for directly."""
        if len(days) <= _SYNCHRONOUS_DAYS and task.purpose != "backfill":
            return ""
        try:
            _, value = await self._send("POST", f"{self._name}/insights", {}, self._request(task.stream, days))
            run_id = str(value.get("report_run_id", "")) if isinstance(value, dict) else ""
            if not re.fullmatch("[0-9]{1,30}", run_id):
                raise Bug(f"{self._name}: report_run_id {shown(run_id)} is not understood")
            await self._wait(run_id, days)
        except TooSlow as failure:
            raise self._less_or_later(days, str(failure)) from None
        return run_id

    async def _wait(self, run_id: str, days: LocalDays) -> None:
        """Returns when a background report is complete."""
        until, pause = time.monotonic() + self.run_seconds, 0.1
        while True:
            response, value = await self._send("GET", run_id, {"fields": _RUN_FIELDS})
            run = value if isinstance(value, dict) else {}
            status = run.get("async_status")
            if status == "Job Completed":
                return
            if status == "Job Failed":
                raise self._failed(run, response, days)
            if status not in ("Job Not Started", "Job Started", "Job Running"):
                raise RetryLater(f"{self._name}: its background report has status {shown(status)}")
            if time.monotonic() + pause > until:
                # Kept nowhere: a narrower one is made sooner, and each of them is a step forward.
                percent = shown(run.get("async_percent_completion"))
                raise TooSlow(f"{self._name}: its background report is at {percent} % after {self.run_seconds:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _failed(self, run: Mapping[str, Any], response: Response, days: LocalDays) -> SourceFailure:
        if not run.get("error_code"):
            return self._less_or_later(days, f"{self._name}: its background report failed without a word")
        error = {
            "code": run["error_code"],
            "error_subcode": run.get("error_subcode"),
            "message": run.get("error_message"),
            "error_user_title": run.get("error_user_title"),
            "error_user_msg": run.get("error_user_msg"),
        }
        return failure_of(self._name, error, response, self._secrets)

    def _less_or_later(self, days: LocalDays, message: str) -> SourceFailure:
        """A day is the least that can be asked for: of that, the same again later."""
        if len(days) > 1:
            return AskForLess(message)
        return RetryLater(message, retry_at=datetime.now(UTC) + timedelta(minutes=1))

    async def _send(
        self, method: str, path: str, params: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> tuple[Response, Any]:
        """The answer, and its JSON."""
        call = Call(
            method,
            f"{self.vendors.meta_url}/{self.vendors.meta_version}/{path}",
            f"meta_ads:{self._name}",
            self._host,
            params={**params, **({"appsecret_proof": self._proof} if self._proof else {})},
            headers={"authorization": f"Bearer {self._token}"},
            form=form,
        )
        value: Any = None

        def classify(response: Response) -> SourceFailure | None:
            nonlocal value
            if 300 <= response.status < 400:
                return None
            try:
                value = read(self._name, response, self._secrets)
            except SourceFailure as failure:
                return failure
            return None

        return await self.http.send(call, classify), value
