"""Reports of a Google Analytics 4 property, from its Data API (v1beta).

Asked for by dates of the property's calendar. Every answer states the property's zone and currency as they are now, and by
them the hours of the answer are placed, whatever zone was known when it was asked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from analytics_assets.sources.connector import JSON, Account, Connector, RawPage, Source, StreamPolicy, Task
from analytics_assets.sources.failures import Bug, Reauthorize, RetryLater, SourceFailure, WindowMoved, WrongConfiguration
from analytics_assets.sources.google_answers import Answer, Report, account_of, read_answer, refusal_of
from analytics_assets.sources.google_tokens import Tokens
from analytics_assets.sources.http import Call, Http, Response
from analytics_assets.sources.report_windows import LocalDays, known_zone
from analytics_assets.sources.vendors import Vendors

_API = "v1beta"
_MOST_ROWS = 250_000
# A property may make ten server errors an hour, then it is shut out: each failed try is one.
_TRIES = 3
_DAY = timedelta(days=1)

REPORTS: Mapping[str, Report] = {
    "hourly": Report(
        "dateHour",
        (
            "sessions", "engagedSessions", "newUsers", "screenPageViews", "eventCount", "keyEvents", "ecommercePurchases",
            "addToCarts", "checkouts", "totalRevenue",
        ),
    ),
    # A report has ten metrics at most.
    "hourly_engagement": Report("dateHour", ("userEngagementDuration", "itemsViewed", "purchaseRevenue")),
    # Distinct users do not add up over hours. sessions: the weight of the mean.
    "daily": Report("date", ("activeUsers", "totalUsers", "averageSessionDuration", "sessions")),
}  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """Where in a report a page begins.

    Attributes:
        offset: its first row, from 0.
        number: of the page, from 1.
        rows: rowCount of the pages before.
        last: the dimension's value of the last row before.
        time_zone, currency: of the pages before.
    """

    offset: int = 0
    number: int = 1
    rows: int = 0
    last: str = ""
    time_zone: str = ""
    currency: str = ""

    def check(self, answer: Answer) -> None:
        """Raises WindowMoved where the page is none of the same report."""
        is_same = (answer.row_count, answer.time_zone, answer.currency) == (self.rows, self.time_zone, self.currency)
        if self.number > 1 and not (is_same and answer.first > self.last):
            raise WindowMoved

    def after(self, answer: Answer) -> _Place | None:
        """Where the next page begins; None: there is none. (Fewer rows may come than were asked for.)"""
        offset = self.offset + answer.rows
        if answer.broken or offset >= answer.row_count:
            return None
        return _Place(offset, self.number + 1, answer.row_count, answer.last, answer.time_zone, answer.currency)


class GoogleAnalytics(Connector):
    """A property, read with a service account's or a user's right to view it."""

    source_type: ClassVar[str] = "google_analytics"
    policies: ClassVar[tuple[StreamPolicy, ...]] = tuple(
        StreamPolicy(stream, "report", 3 * _DAY, 30 * _DAY, 90 * _DAY) for stream in REPORTS
    )
    required_settings: ClassVar[tuple[str, ...]] = ("property_id",)
    secret_choices: ClassVar[tuple[tuple[str, ...], ...]] = (("service_account",), ("refresh_token",), ("access_token",))

    def __init__(self, source: Source, http: Http, vendors: Vendors, *, page_size: int | None = None) -> None:
        super().__init__(source, http, vendors, page_size=page_size)
        self._tokens = Tokens(source, http, vendors)
        self._property = str(source.settings["property_id"]).removeprefix("properties/")
        self._url = f"{vendors.google_url}/{_API}/properties/{self._property}:runReport"
        self._host = urlsplit(vendors.google_url).netloc

    def secrets(self) -> Mapping[str, Any]:
        return {"used": self._tokens.used, "client": self.vendors.google_client_secret}

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any], vendors: Vendors) -> JSON:
        """property_id as its digits; "properties/123" is 123."""
        unknown = sorted(set(settings) - {"property_id"})
        if unknown:
            raise WrongConfiguration(f"{unknown[0]!r}: no setting of a Google Analytics source; there is property_id")
        value = settings.get("property_id")
        text = "" if value is None or isinstance(value, bool) else str(value).strip().removeprefix("properties/")
        if not re.fullmatch("[1-9][0-9]{0,19}", text):
            raise WrongConfiguration(
                f"property_id: {str(value)[:60]!r} is no property; expected its number, such as 123456789 (Admin > Property > "
                "Property details), not a measurement ID (G-...) or a Universal Analytics ID (UA-...)"
            )
        return {"property_id": text}

    async def account(self) -> Account:
        """Zone and currency of the property, by the smallest report there is. It does not say the property's name."""
        _, answer = await self._run(
            {
                "dateRanges": [{"startDate": "yesterday", "endDate": "today"}],
                "metrics": [{"name": "sessions"}],
                "limit": "1",
            }
        )
        try:
            return Account(*account_of(answer))
        except ValueError as broken:
            raise Bug(f"property {self._property}: the answer is not understood ({broken})") from None

    async def pages(self, task: Task, position: JSON | None = None) -> AsyncIterator[RawPage]:
        """See Connector. A window without rows is one page without rows."""
        report, zone = REPORTS.get(task.stream), known_zone(self.source.time_zone)
        if report is None:
            raise Bug(f"google_analytics has no stream {task.stream}")
        if zone is None:
            raise Bug(f"time_zone: {self.source.time_zone!r} of the source is not known")
        days = LocalDays.touched(task.start, task.end, zone)
        place: _Place | None = _Place(**position) if position else _Place()
        while place is not None:
            response, value = await self._run(self._request(report, days, place.offset))
            answer = read_answer(value, report, days, place.offset)
            if not answer.broken:
                place.check(answer)
            after = place.after(answer)
            yield self._page(task.stream, days, place.number, response, answer, after)
            place = after

    def _request(self, report: Report, days: LocalDays, offset: int) -> JSON:
        return {
            "dateRanges": [{"startDate": days.first.isoformat(), "endDate": days.last.isoformat()}],
            "dimensions": [{"name": report.dimension}],
            "metrics": [{"name": metric} for metric in report.metrics],
            "orderBys": [{"dimension": {"dimensionName": report.dimension}}],
            "limit": str(self.page_size or _MOST_ROWS),
            "offset": str(offset),
            "keepEmptyRows": False,
            "returnPropertyQuota": True,
        }

    def _page(
        self, stream: str, days: LocalDays, number: int, response: Response, answer: Answer, after: _Place | None
    ) -> RawPage:
        time_zone = answer.time_zone or self.source.time_zone
        start, end = days.window(ZoneInfo(time_zone))
        return RawPage(
            stream=stream,
            body=response.body,
            number=number,
            fetched_at=response.fetched_at,
            api_version=_API,
            time_zone=time_zone,
            currency=answer.currency or self.source.currency,
            records=answer.rows,
            position=None if after is None else asdict(after),
            window_start=start,
            window_end=end,
            flags=answer.flags,
            sameness=answer.sameness,
            broken=answer.broken,
        )

    async def _run(self, body: JSON) -> tuple[Response, Any]:
        """The answer to runReport, and its JSON. A token that is refused is replaced once."""
        token = await self._tokens.current()
        try:
            return await self._send(body, token)
        except Reauthorize:
            token = await self._tokens.replace(token)
        return await self._send(body, token)

    async def _send(self, body: JSON, token: str) -> tuple[Response, Any]:
        headers = {"authorization": f"Bearer {token}"}
        account = f"google_analytics:{self._property}"
        call = Call("POST", self._url, account, self._host, headers=headers, json=body, attempts=_TRIES)
        value: Any = None

        def classify(response: Response) -> SourceFailure | None:
            nonlocal value
            failure = refusal_of(self._property, response, token)
            if failure is None and response.status < 300:
                try:
                    value = response.json()
                except RetryLater as broken:
                    return RetryLater(f"property {self._property}: {broken}", status=response.status)
            return failure

        return await self.http.send(call, classify), value
