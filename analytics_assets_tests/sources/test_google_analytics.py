"""The Google Analytics connector against a server that answers as the Data API does."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import Response

from analytics_assets.sandbox import traffic
from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets.sources.connector import JSON, RawPage
from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    RetryLater,
    SourceFailure,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.google_analytics import REPORTS, GoogleAnalytics
from analytics_assets.sources.report_windows import LocalDays
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.google_property import (
    METADATA,
    account,
    days,
    error,
    failure,
    hours,
    listed,
    read,
    report,
    row,
)
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, reply, serving, source, task, with_connector


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


# --- Reports ---------------------------------------------------------------------------------------------------------


def test_a_report_is_asked_for_as_documented_and_kept_verbatim(vendor: Vendor) -> None:
    body = json.dumps(report("hourly", hours("2026112000", "2026112223")), indent=1).encode()
    vendor.answer = lambda _: Response(body)
    (page,) = read(vendor)
    (asked,) = vendor.asked
    assert (asked.method, asked.target) == ("POST", f"{vendor.url}/v1beta/properties/123:runReport")
    assert asked.headers["authorization"] == "Bearer ya29.static-token-of-the-test"
    assert asked.json == {
        "dateRanges": [{"startDate": "2026-11-20", "endDate": "2026-11-22"}],
        "dimensions": [{"name": "dateHour"}],
        "metrics": [
            {"name": name}
            for name in (
                "sessions", "engagedSessions", "newUsers", "screenPageViews", "eventCount", "keyEvents", "ecommercePurchases",
                "addToCarts", "checkouts", "totalRevenue",
            )
        ],
        "orderBys": [{"dimension": {"dimensionName": "dateHour"}}],
        "limit": "250000",
        "offset": "0",
        "keepEmptyRows": False,
        "returnPropertyQuota": True,
    }  # fmt: skip
    assert page.body == body
    assert (page.stream, page.number, page.records, page.position, page.broken) == ("hourly", 1, 2, None, "")
    assert (page.window_start, page.window_end) == days("2026-11-20", "2026-11-22")
    assert (page.time_zone, page.currency, page.api_version) == ("Europe/Berlin", "EUR", "v1beta")
    assert (page.instants, page.keys, page.flags) == ((), (), ())


@pytest.mark.parametrize(
    ("stream", "dimension", "metrics"),
    [
        ("hourly_engagement", "dateHour", ["userEngagementDuration", "itemsViewed", "purchaseRevenue"]),
        ("daily", "date", ["activeUsers", "totalUsers", "averageSessionDuration", "sessions"]),
    ],
)
def test_the_other_reports(vendor: Vendor, stream: str, dimension: str, metrics: list[str]) -> None:
    label = "2026112123" if dimension == "dateHour" else "20261121"
    vendor.answer = lambda _: reply(report(stream, [row(label, *("1.5" for _ in metrics))]))
    (page,) = read(vendor, stream)
    assert (page.records, page.broken) == (1, "")
    assert vendor.asked[0].json["dimensions"] == [{"name": dimension}]
    assert [one["name"] for one in vendor.asked[0].json["metrics"]] == metrics


def test_policies() -> None:
    assert [(one.stream, one.kind, one.each_sync, one.reread, one.widest) for one in GoogleAnalytics.policies] == [
        (stream, "report", timedelta(days=3), timedelta(days=30), timedelta(days=90))
        for stream in ("hourly", "hourly_engagement", "daily")
    ]


def test_an_unknown_stream_is_ours_to_mend(vendor: Vendor) -> None:
    assert isinstance(failure(vendor, stream="weekly"), Bug)


LABELS = [f"20261120{hour:02}" for hour in range(5)]


def test_pages_by_offset_and_resumed_from_any_of_them(vendor: Vendor) -> None:
    vendor.answer = listed(hours(*LABELS))
    pages = read(vendor, page_size=2)
    assert [asked.json["offset"] for asked in vendor.asked] == ["0", "2", "4"]
    assert {asked.json["limit"] for asked in vendor.asked} == {"2"}
    assert [(page.number, page.records) for page in pages] == [(1, 2), (2, 2), (3, 1)]
    assert [page.position and (page.position["offset"], page.position["rows"]) for page in pages] == [(2, 5), (4, 5), None]
    for number, page in enumerate(pages[:2], 1):
        rest = read(vendor, position=json.loads(json.dumps(page.position)), page_size=2)
        assert [(one.number, one.body, one.window_start) for one in rest] == [
            (one.number, one.body, one.window_start) for one in pages[number:]
        ]


def test_fewer_rows_than_asked_for_leave_none_out(vendor: Vendor) -> None:
    """A limit of the vendor's own would have had rows passed over."""

    def answer(asked: Asked) -> Response:
        offset = int(asked.json["offset"])
        return reply(report("hourly", hours(*LABELS)[offset : offset + 2], 5))

    vendor.answer = answer
    assert [page.records for page in read(vendor, page_size=4)] == [2, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda offset, answer: answer | {"rowCount": 6} if offset else answer, id="more rows"),
        pytest.param(
            lambda offset, answer: answer | {"rowCount": 3, "rows": hours(LABELS[3])} if offset else answer, id="fewer rows"
        ),
        pytest.param(
            lambda offset, answer: {k: v for k, v in answer.items() if k not in ("rows", "rowCount")} if offset else answer,
            id="no rows any more",
        ),
        pytest.param(lambda offset, answer: answer | {"rows": hours(*LABELS[1:3])} if offset else answer, id="an hour again"),
        pytest.param(
            lambda offset, answer: answer | {"metadata": METADATA | {"timeZone": "Europe/Paris"}} if offset else answer,
            id="another zone",
        ),
        pytest.param(
            lambda offset, answer: answer | {"metadata": METADATA | {"currencyCode": "USD"}} if offset else answer,
            id="another currency",
        ),
    ],
)
def test_a_report_that_changes_between_pages_is_read_again(vendor: Vendor, change: Callable[[int, JSON], JSON]) -> None:
    vendor.answer = listed(hours(*LABELS[:4]))
    first = read(vendor, page_size=2)[0]
    vendor.answer = listed(hours(*LABELS[:4]), change)
    with pytest.raises(WindowMoved):
        read(vendor, page_size=2)
    with pytest.raises(WindowMoved):
        read(vendor, position=first.position, page_size=2)


def test_an_empty_answer_is_a_page(vendor: Vendor) -> None:
    body = report("hourly", [], metadata=METADATA | {"emptyReason": "none"})
    for answer in (body, {name: value for name, value in body.items() if "Headers" not in name}):
        vendor.answer = lambda _, answer=answer: reply(answer)  # type: ignore[misc]
        (page,) = read(vendor)
        assert (page.records, page.position, page.broken) == (0, None, "")
        assert (page.window_start, page.window_end) == days("2026-11-20", "2026-11-22")


def test_what_is_left_of_the_quota_says_nothing_new(vendor: Vendor) -> None:
    def told(remaining: int, sessions: str = "5") -> RawPage:
        quota = {"tokensPerHour": {"consumed": 1, "remaining": remaining}}
        answer = report("hourly", [row("2026112000", sessions, *"123456789")], propertyQuota=quota)
        vendor.answer = lambda _: reply(answer)
        return read(vendor)[0]

    assert told(39_000).body != told(38_000).body
    assert told(39_000).sameness == told(38_000).sameness != told(38_000, "6").sameness


# --- Zones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "first", "last", "start", "end"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "2026-10-25", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("Asia/Kolkata", "2026-11-20", "2026-11-22", "2026-11-19T18:30", "2026-11-22T18:30"),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-04", "2026-10-03T13:30", "2026-10-04T13:00"),
        ("America/New_York", "2026-11-01", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00"),
    ],
)
def test_the_window_is_the_one_that_the_answer_covers(
    vendor: Vendor, zone: str, first: str, last: str, start: str, end: str
) -> None:
    """Whatever zone was known: here the property has just been moved from Berlin to another one."""
    rows = hours(first.replace("-", "") + "00", last.replace("-", "") + "23")
    vendor.answer = lambda _: reply(report("hourly", rows, metadata=METADATA | {"timeZone": zone, "currencyCode": "INR"}))
    (page,) = read(vendor, window=days(first, last))
    assert vendor.asked[0].json["dateRanges"] == [{"startDate": first, "endDate": last}]
    assert (page.time_zone, page.currency) == (zone, "INR")
    assert (page.window_start, page.window_end) == tuple(datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (start, end))


def test_a_window_of_another_zone_is_asked_for_with_every_day_that_it_touches(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply(report("hourly", []))
    read(vendor, window=days("2026-11-20", "2026-11-22", ZoneInfo("Asia/Tokyo")))
    assert vendor.asked[0].json["dateRanges"] == [{"startDate": "2026-11-19", "endDate": "2026-11-22"}]


# --- Quality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ({"metadata": METADATA | {"subjectToThresholding": True}}, ("thresholded",)),
        ({"metadata": METADATA | {"dataLossFromOtherRow": True}}, ("other_row",)),
        ({"metadata": METADATA | {"samplingMetadatas": [{"samplesReadCount": "5", "samplingSpaceSize": "9"}]}}, ("sampled",)),
        ({"metadata": METADATA | {"samplingMetadatas": [{}], "subjectToThresholding": False}}, ()),
        ({"metadata": METADATA | {"dataTruncationReasons": ["ROW_LIMIT"]}}, ("truncated:ROW_LIMIT",)),
        (
            {"metadata": METADATA | {"dataTruncationReasons": [{"dataTruncationMessage": "Older data is not returned."}]}},
            ("truncated:Older data is not returned.",),
        ),
        (
            {
                "metadata": METADATA
                | {"schemaRestrictionResponse": {"activeMetricRestrictions": [{"metricName": "totalRevenue"}]}}
            },
            ("restricted:totalRevenue",),
        ),
        ({"propertyQuota": {"tokensPerHour": {"consumed": 9, "remaining": 3999}}}, ("quota_low",)),
        ({"propertyQuota": {"tokensPerHour": {"consumed": 9, "remaining": 4000}}}, ()),
        # Where nothing is left the field is left out.
        ({"propertyQuota": {"tokensPerProjectPerHour": {"consumed": 9}, "tokensPerHour": {"remaining": 0}}}, ("quota_low",)),
    ],
)
def test_remarks_on_quality_are_kept(vendor: Vendor, more: JSON, flags: tuple[str, ...]) -> None:
    vendor.answer = lambda _: reply(report("hourly", hours("2026112000"), **more))
    assert read(vendor)[0].flags == flags


TEN = [str(number) for number in range(10)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (report("hourly", [row("2026112000", *TEN[:4], "NaN", *TEN[5:])]), "row 1 (2026112000): eventCount 'NaN' is no number"),
        (report("hourly", [*hours("2026112000"), row("2026112001", *TEN[:9], "1,5")]), "row 2 (2026112001): totalRevenue '1,5'"),
        (report("hourly", [row("2026112000", *TEN[:9], "Infinity")]), "totalRevenue 'Infinity' is no number"),
        (report("hourly", [row("2026112000", *TEN[:9])]), "row 1: metricValues"),
        (report("hourly", hours("2026112024")), "row 1: dateHour '2026112024'"),
        (report("hourly", hours("(other)")), "row 1: dateHour '(other)' is none of 2026-11-20 to 2026-11-22"),
        (report("hourly", hours("2026112300")), "row 1: dateHour '2026112300' is none of"),
        (report("hourly", hours("20261120")), "row 1: dateHour '20261120'"),
        (report("hourly", hours("2026112001", "2026112001")), "row 2: dateHour '2026112001' comes after 2026112001"),
        (report("hourly", hours("2026112000"), metricHeaders=[{"name": "sessions"}]), "metricHeaders: ['sessions'] in place of"),
        (report("hourly", hours("2026112000"), dimensionHeaders=[{"name": "date"}]), "dimensionHeaders: ['date']"),
        (report("hourly", hours("2026112000"), metadata={"currencyCode": "EUR"}), "metadata.timeZone: None is no time zone"),
        (report("hourly", [], metadata=METADATA | {"timeZone": "Mars/Olympus"}), "metadata.timeZone: 'Mars/Olympus'"),
        (report("hourly", [], metadata=METADATA | {"currencyCode": "euro"}), "metadata.currencyCode: 'euro' is no currency"),
        (report("hourly", [], rowCount=7), "rowCount: 7, but no rows"),
        (report("hourly", hours("2026112000"), rowCount=0), "rowCount: 0, with 1 rows"),
        (report("hourly", hours("2026112000"), rowCount="1"), "rowCount: '1'"),
        (report("hourly", []) | {"rows": {"0": 1}, "rowCount": 1}, "rows: {'0': 1} is no list"),
        (["no object"], "metadata: None is no object"),
    ],
)
def test_an_answer_that_cannot_be_read_is_set_aside_with_the_reason(vendor: Vendor, answer: Any, words: str) -> None:
    vendor.answer = lambda _: reply(answer)
    (page,) = read(vendor)
    assert words in page.broken
    assert (page.position, json.loads(page.body)) == (None, answer)


# --- Failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(403, "PERMISSION_DENIED", "User does not have sufficient permissions."), PermissionDenied, "sufficient"),
        (
            error(400, "INVALID_ARGUMENT", "Field conversions is not a valid metric."),
            WrongConfiguration,
            "Field conversions is not",
        ),
        (error(404, "NOT_FOUND", "no such property"), WrongConfiguration, "no such property"),
        (error(500, "INTERNAL", "Internal error"), RetryLater, "HTTP 500"),
        (error(503, "UNAVAILABLE", "The service is currently unavailable."), RetryLater, "unavailable"),
        (lambda _: Response("<html>Bad gateway</html>", 502), RetryLater, "Bad gateway"),
        (lambda _: Response("<html>not here</html>", 404), Bug, "not here"),
        (lambda _: Response(json.dumps(report("hourly", hours("2026112000")))[:-40]), RetryLater, "breaks off"),
        (lambda _: Response("<!doctype html><html>sign in</html>", media_type="text/html"), RetryLater, "HTML page"),
        (lambda _: Response(b""), RetryLater, "empty answer"),
        (lambda _: Response(status_code=302, headers={"location": "https://elsewhere.example/"}), WrongConfiguration, "redirect"),
    ],
)
def test_refusals(vendor: Vendor, answer: Callable[[Asked], Response], kind: type[SourceFailure], words: str) -> None:
    vendor.answer = answer
    found = failure(vendor)
    assert type(found) is kind
    assert words in str(found) and "static-token" not in str(found)
    assert len(vendor.asked) == 1


def test_a_server_error_is_tried_three_times_in_all(vendor: Vendor) -> None:
    """Ten an hour, and the property is shut out."""
    vendor.answer = error(500, "INTERNAL", "Internal error")
    assert isinstance(failure(vendor, patience=5.0), RetryLater)
    assert len(vendor.asked) == 3


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Exhausted concurrent requests quota. Please send fewer requests concurrently.", 30),
        ("Exhausted property tokens for a project per hour. These quota tokens will return in under an hour.", 1800),
        ("Exhausted potentially thresholded requests quota.", 1800),
        ("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'.", 60),
    ],
)
def test_quotas_return_after_a_while(vendor: Vendor, message: str, seconds: int) -> None:
    vendor.answer = error(429, "RESOURCE_EXHAUSTED", message)
    found = failure(vendor, patience=5.0)
    assert isinstance(found, Throttled) and found.retry_at is not None
    assert timedelta(seconds=seconds - 5) < found.retry_at - datetime.now(UTC) <= timedelta(seconds=seconds)
    assert len(vendor.asked) == 1


def test_the_daily_quota_returns_at_midnight_in_california(vendor: Vendor) -> None:
    vendor.answer = error(429, "RESOURCE_EXHAUSTED", "Exhausted property tokens per day.")
    found = failure(vendor)
    assert found.retry_at is not None
    local = found.retry_at.astimezone(ZoneInfo("America/Los_Angeles"))
    assert (local.hour, local.minute, local.second) == (0, 0, 0)
    assert timedelta() < found.retry_at - datetime.now(UTC) <= timedelta(hours=25)


def test_the_vendors_own_word_on_when_to_come_back_counts(vendor: Vendor) -> None:
    vendor.answer = error(429, "RESOURCE_EXHAUSTED", "Exhausted property tokens per day.", retry_after="90")
    found = failure(vendor)
    assert found.retry_at is not None and timedelta(seconds=80) < found.retry_at - datetime.now(UTC) <= timedelta(seconds=90)


# --- Account and settings --------------------------------------------------------------------------------------------


def test_the_account_is_what_the_smallest_report_says(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply({"metadata": {"currencyCode": "INR", "timeZone": "Asia/Kolkata"}})
    found = account(vendor)
    assert (found.time_zone, found.currency, found.notes) == ("Asia/Kolkata", "INR", ())
    assert vendor.asked[0].json["limit"] == "1"


def test_an_account_without_a_zone_is_not_understood(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply({"metadata": {"currencyCode": "INR"}})
    with pytest.raises(Bug, match=r"property 123.*metadata\.timeZone: None"):
        account(vendor)


@pytest.mark.parametrize("value", ["properties/123456", "123456", " 123456 ", 123456])
def test_property_ids(value: Any) -> None:
    assert GoogleAnalytics.check_settings({"property_id": value}, Vendors()) == {"property_id": "123456"}


@pytest.mark.parametrize("value", [None, "", "G-ABC123", "UA-1-1", "0123", "12/34", "properties/", True, "１２３", "1" * 21])
def test_no_property_ids(value: Any) -> None:
    with pytest.raises(WrongConfiguration, match=r"property_id: .* expected its number"):
        GoogleAnalytics.check_settings({"property_id": value}, Vendors())


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(WrongConfiguration, match="'propertyid': no setting"):
        GoogleAnalytics.check_settings({"property_id": "1", "propertyid": "1"}, Vendors())


# --- The sandbox -----------------------------------------------------------------------------------------------------


def test_the_sandboxs_reports_say_what_its_world_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A property on Lord Howe in the week in which its clocks go forward by half an hour; read in pages of 50 rows."""
    world, now = make_world(9, date(2026, 9, 30)), datetime(2026, 10, 7, 15, tzinfo=UTC)
    one = world.organizations[8]
    zone = ZoneInfo(one.property_zone)
    assert one.property_zone == "Australia/Lord_Howe"
    with running(Sandbox(world=world, clock=Clock(now))) as base:
        for name, value in vendor_environment(base).items():
            monkeypatch.setenv(name, value)
        settings, secrets = connection_of(one, "google_analytics", base)
        window = LocalDays(world.first_day, now.astimezone(zone).date()).window(zone)

        async def everything(connector: GoogleAnalytics) -> tuple[Any, list[RawPage]]:
            found = await connector.account()
            return found, [page for s in REPORTS for page in await gathered(connector.pages(task(s, *window)))]

        given = source("google_analytics", settings, secrets)
        told, pages = with_connector(GoogleAnalytics, given, Vendors.load(), everything, page_size=50)
    assert (told.time_zone, told.currency) == (one.property_zone, one.currency)
    assert len(pages) > 6 and {page.broken for page in pages} == {""}
    found_hours: dict[tuple[str, datetime], Decimal] = {}
    found_days: dict[tuple[str, date], Decimal] = {}
    for page in pages:
        for label, metric, value in cells(page):
            number = Decimal(value)
            if page.stream != "daily":
                at = datetime.strptime(label, "%Y%m%d%H").replace(tzinfo=zone).astimezone(UTC)
                found_hours[traffic.HOURLY_NAMES[metric], at] = number
            elif metric in traffic.DAILY_NAMES:
                found_days[traffic.DAILY_NAMES[metric], datetime.strptime(label, "%Y%m%d").date()] = number
    assert found_hours == traffic.hourly_truth(world, one, now)
    assert found_days == traffic.daily_truth(world, one, now)


def cells(page: RawPage) -> Iterator[tuple[str, str, str]]:
    """(value of the dimension, metric, value) of each figure."""
    answer = json.loads(page.body)
    for one in answer.get("rows", []):
        for header, cell in zip(answer["metricHeaders"], one["metricValues"], strict=True):
            yield one["dimensionValues"][0]["value"], header["name"], cell["value"]
