"""The sandbox as Google Analytics: the vendor's own client reads what the world says, and refusals are the vendor's."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import google.auth.exceptions
import google.oauth2.credentials
import google.oauth2.service_account
import httpx
import pytest
from google.analytics.data_v1beta import BetaAnalyticsDataClient
from google.analytics.data_v1beta.types import DateRange, Dimension, Metric, OrderBy, RunReportRequest
from google.api_core.exceptions import BadRequest, Forbidden
from google.auth.transport.requests import Request as Transport

from analytics_assets.sandbox import google_access, traffic
from analytics_assets.sandbox.app import running
from analytics_assets.sandbox.hours import days_between, local_hours
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, SandboxOrganization, make_world

AUTUMN, SPRING = datetime(2026, 11, 3, 9, 20, tzinfo=UTC), datetime(2026, 4, 9, 9, 20, tzinfo=UTC)
WORLD = make_world(10, date(2026, 3, 1), orders_per_day=3)
BERLIN, NEW_YORK, TORONTO, ADELAIDE, LORD_HOWE = (WORLD.organizations[n] for n in (0, 1, 2, 3, 8))
FIRST_TEN, REST = list(traffic.HOURLY_NAMES)[:10], list(traffic.HOURLY_NAMES)[10:]
SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
Json = dict[str, Any]
# Kept: making a client takes longer than most calls.
HTTP = httpx.Client(verify=False)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox(world=WORLD, clock=Clock(AUTUMN))
    with running(sandbox) as base:
        yield sandbox, base


@pytest.fixture
def sandbox(served: tuple[Sandbox, str]) -> Iterator[Sandbox]:
    sandbox, _ = served
    sandbox.clock.set(AUTUMN)
    yield sandbox
    sandbox.faults.clear()


@pytest.fixture
def base(served: tuple[Sandbox, str], sandbox: Sandbox) -> str:
    return served[1]


def official(base: str, one: SandboxOrganization) -> BetaAnalyticsDataClient:
    credentials = google.oauth2.credentials.Credentials(token=google_access.static_token(one))  # type: ignore[no-untyped-call]
    return BetaAnalyticsDataClient(transport="rest", client_options={"api_endpoint": base}, credentials=credentials)


def ask(base: str, one: SandboxOrganization, /, *, token: str | None = None, **body: Any) -> httpx.Response:
    request = {"dateRanges": [{"startDate": "2026-10-30", "endDate": "2026-11-01"}], "metrics": [{"name": "sessions"}]} | body
    text = google_access.static_token(one) if token is None else token
    headers = {"Authorization": f"Bearer {text}"}
    return HTTP.post(f"{base}/v1beta/properties/{one.property_id}:runReport", json=request, headers=headers)


def table(answer: httpx.Response) -> dict[tuple[str, ...], tuple[str, ...]]:
    assert answer.status_code == 200, answer.text
    return {
        tuple(cell["value"] for cell in row["dimensionValues"]): tuple(cell["value"] for cell in row["metricValues"])
        for row in answer.json().get("rows", [])
    }


def hours_of(base: str, one: SandboxOrganization, first: date, last: date, *metrics: str) -> dict[datetime, tuple[str, ...]]:
    dates = [{"startDate": first.isoformat(), "endDate": last.isoformat()}]
    names = [{"name": name} for name in metrics or ("sessions",)]
    zone = ZoneInfo(one.property_zone)
    rows = table(ask(base, one, dateRanges=dates, dimensions=[{"name": "dateHour"}], metrics=names))
    return {datetime.strptime(key, "%Y%m%d%H").replace(tzinfo=zone).astimezone(UTC): row for (key,), row in rows.items()}


# --- Numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("one", [BERLIN, NEW_YORK, ADELAIDE, LORD_HOWE], ids=lambda one: one.property_zone)
def test_official_client_reads_the_truth(sandbox: Sandbox, base: str, one: SandboxOrganization, now: datetime) -> None:
    """Hour by hour over both clock changes, in pages; days likewise."""
    sandbox.clock.set(now)
    zone, client = ZoneInfo(one.property_zone), official(base, one)
    last = now.astimezone(zone).date()
    first = last - timedelta(days=38 if now is SPRING else 32)
    hours: dict[tuple[str, datetime], Decimal] = {}
    for metrics, limit in ((FIRST_TEN, 300), (REST, 100_000)):
        offset, total = 0, 1
        while offset < total:
            answer = client.run_report(
                RunReportRequest(
                    property=f"properties/{one.property_id}",
                    date_ranges=[DateRange(start_date=first.isoformat(), end_date=last.isoformat())],
                    dimensions=[Dimension(name="dateHour")],
                    metrics=[Metric(name=name) for name in metrics],
                    order_bys=[OrderBy(dimension=OrderBy.DimensionOrderBy(dimension_name="dateHour", order_type=1))],
                    limit=limit,
                    offset=offset,
                )
            )
            assert (answer.metadata.time_zone, answer.metadata.currency_code) == (one.property_zone, one.currency)
            for row in answer.rows:
                local = datetime.strptime(row.dimension_values[0].value, "%Y%m%d%H").replace(tzinfo=zone, fold=0)
                for name, cell in zip(metrics, row.metric_values, strict=True):
                    key = (traffic.HOURLY_NAMES[name], local.astimezone(UTC))
                    assert key not in hours
                    hours[key] = Decimal(cell.value)
            offset, total = offset + limit, answer.row_count
    since = datetime(first.year, first.month, first.day, tzinfo=zone)
    assert hours == {key: value for key, value in traffic.hourly_truth(WORLD, one, now).items() if key[1] >= since}
    assert len(hours) > 13 * 600

    answer = client.run_report(
        RunReportRequest(
            property=f"properties/{one.property_id}",
            date_ranges=[DateRange(start_date=first.isoformat(), end_date="today")],
            dimensions=[Dimension(name="date")],
            metrics=[Metric(name=name) for name in traffic.DAILY_NAMES],
        )
    )
    days = {
        (traffic.DAILY_NAMES[name], datetime.strptime(row.dimension_values[0].value, "%Y%m%d").date()): Decimal(cell.value)
        for row in answer.rows
        for name, cell in zip(traffic.DAILY_NAMES, row.metric_values, strict=True)
    }
    assert days == {key: value for key, value in traffic.daily_truth(WORLD, one, now).items() if key[1] >= first}


def test_days_are_sums_of_hours_but_people_are_not(base: str) -> None:
    metrics = [{"name": name} for name in ("sessions", "totalRevenue", "totalUsers", "activeUsers")]
    by_hour = table(ask(base, BERLIN, dimensions=[{"name": "date"}, {"name": "dateHour"}], metrics=metrics))
    by_day = table(ask(base, BERLIN, dimensions=[{"name": "date"}], metrics=metrics))
    assert len(by_day) == 3
    for (day,), row in by_day.items():
        sums = [sum(Decimal(cells[n]) for (key, _), cells in by_hour.items() if key == day) for n in range(4)]
        assert sums[:2] == [Decimal(row[0]), Decimal(row[1])]
        assert sums[2] > Decimal(row[2]) >= Decimal(row[3]) and sums[3] > Decimal(row[3])


def test_channels_add_up(base: str) -> None:
    metrics = [{"name": name} for name in ("sessions", "totalRevenue", "eventCount")]
    by_channel = table(ask(base, BERLIN, dimensions=[{"name": "sessionDefaultChannelGroup"}], metrics=metrics))
    (whole,) = table(ask(base, BERLIN, metrics=metrics)).values()
    assert {key[0] for key in by_channel} == {"Organic Search", "Direct", "Paid Social", "Email", "Referral"}
    assert [sum(Decimal(row[n]) for row in by_channel.values()) for n in range(3)] == [Decimal(text) for text in whole]


def test_night_hours_of_a_small_property_are_absent() -> None:
    counts = [len(traffic.visible_hours(BERLIN, day, True, AUTUMN)) for day in days_between(date(2026, 9, 1), date(2026, 9, 30))]
    assert min(counts) < 24 and max(counts) > 20


# --- Restatement -------------------------------------------------------------------------------------------


def test_an_hour_appears_after_two_hours_and_grows_for_two_days(sandbox: Sandbox, base: str) -> None:
    hour = datetime(2026, 10, 28, 17, tzinfo=UTC)
    seen = {}
    for age in (1.75, 2, 20, 48, 60):
        sandbox.clock.set(hour + timedelta(hours=1 + age))
        rows = hours_of(base, BERLIN, date(2026, 10, 28), date(2026, 10, 28), "eventCount", "sessions")
        seen[age] = [int(text) for text in rows[hour]] if hour in rows else None
    first, later, final = seen[2], seen[20], seen[48]
    assert seen[1.75] is None and seen[60] == final
    assert first and later and final and first[0] < later[0] < final[0] and first[1] <= later[1] <= final[1]


def test_hours_of_robots_vanish(sandbox: Sandbox, base: str) -> None:
    day, hour = next(
        (day, hour)
        for day in days_between(date(2026, 9, 1), date(2026, 10, 20))
        for hour in local_hours(BERLIN.property_zone, day)
        if hour.start in rows_at(day, hour.end + 5 * 3600) and hour.start not in rows_at(day, hour.end + 30 * 3600)
    )
    for age, expected in ((5, True), (30, False), (300, False)):
        sandbox.clock.set(datetime.fromtimestamp(hour.end + age * 3600, UTC))
        assert (datetime.fromtimestamp(hour.start, UTC) in hours_of(base, BERLIN, day, day)) is expected


def rows_at(day: date, at: int) -> set[int]:
    return {hour.start for hour, _ in traffic.visible_hours(BERLIN, day, True, datetime.fromtimestamp(at, UTC))}


def test_a_world_that_is_not_late_is_final_at_once() -> None:
    punctual = replace(WORLD, late=False)
    early = traffic.hourly_truth(punctual, BERLIN, AUTUMN)
    later = traffic.hourly_truth(punctual, BERLIN, AUTUMN + timedelta(days=5))
    assert max(at for _, at in early) == AUTUMN.replace(hour=8, minute=0)
    assert {key: value for key, value in later.items() if key[1] < AUTUMN.replace(hour=9, minute=0)} == early
    settled = traffic.hourly_truth(WORLD, BERLIN, AUTUMN + timedelta(days=5))
    assert early == {key: settled[key] for key in early}


# --- Protocol ----------------------------------------------------------------------------------------------


def test_answer_has_the_vendors_form(sandbox: Sandbox, base: str) -> None:
    body: Json = {"dimensions": [{"name": "date"}], "metrics": [{"name": "sessions"}, {"name": "totalRevenue"}], "limit": "2"}
    answers = [ask(base, BERLIN, returnPropertyQuota=True, **body).json() for _ in range(2)]
    first, second = answers
    assert first["kind"] == "analyticsData#runReport" and first["rowCount"] == 3 and len(first["rows"]) == 2
    assert first["dimensionHeaders"] == [{"name": "date"}]
    assert first["metricHeaders"] == [
        {"name": "sessions", "type": "TYPE_INTEGER"}, {"name": "totalRevenue", "type": "TYPE_CURRENCY"},
    ]  # fmt: skip
    assert first["metadata"] == {"currencyCode": "EUR", "timeZone": "Europe/Berlin"}
    left = [answer["propertyQuota"]["tokensPerDay"]["remaining"] for answer in answers]
    assert left[0] > left[1] and first["rows"] == second["rows"]
    assert "propertyQuota" not in ask(base, BERLIN, **body).json()
    # Without a wish the largest comes first, not the earliest.
    values = [int(row["metricValues"][0]["value"]) for row in first["rows"]]
    assert values == sorted(values, reverse=True)
    url = f"{base}/v1beta/properties/{BERLIN.property_id}:runReport?$alt=json;enum-encoding=int"
    headers = {"Authorization": f"Bearer {google_access.static_token(BERLIN)}"}
    request = body | {"dateRanges": [{"startDate": "yesterday", "endDate": "today"}]}
    assert HTTP.post(url, json=request, headers=headers).json()["metricHeaders"][1]["type"] == 9


def test_an_empty_answer_has_no_rows_and_no_count(base: str) -> None:
    for dates in ({"startDate": "2026-01-01", "endDate": "2026-01-31"}, {"startDate": "2027-01-01", "endDate": "2027-01-02"}):
        answer = ask(base, BERLIN, dateRanges=[dates], dimensions=[{"name": "dateHour"}]).json()
        assert "rows" not in answer and "rowCount" not in answer and answer["metadata"]["timeZone"] == "Europe/Berlin"
    beyond = ask(base, BERLIN, dimensions=[{"name": "date"}], offset="100").json()
    assert "rows" not in beyond and beyond["rowCount"] == 3


def test_dates_may_be_relative_and_several(base: str) -> None:
    dimensions = [{"name": "date"}]
    absolute = table(ask(base, TORONTO, dimensions=dimensions, dateRanges=[{"startDate": "2026-10-31", "endDate": "2026-11-02"}]))
    # 04:20 in Toronto: today is still the third.
    relative = table(ask(base, TORONTO, dimensions=dimensions, dateRanges=[{"startDate": "3daysAgo", "endDate": "yesterday"}]))
    assert absolute == relative and len(absolute) == 3
    ranges = [
        {"startDate": "2026-10-31", "endDate": "2026-10-31", "name": "a"},
        {"startDate": "2026-11-01", "endDate": "2026-11-01"},
    ]
    several = ask(base, TORONTO, dateRanges=ranges)
    assert several.json()["dimensionHeaders"] == [{"name": "dateRange"}]
    assert set(table(several)) == {("a",), ("date_range_1",)}


def test_rows_of_zeros_are_kept_on_demand(base: str) -> None:
    body: Json = {"dimensions": [{"name": "dateHour"}], "metrics": [{"name": "ecommercePurchases"}]}
    body["orderBys"] = [
        {"metric": {"metricName": "ecommercePurchases"}, "desc": True},
        {"dimension": {"dimensionName": "dateHour"}},
    ]
    kept, dropped = table(ask(base, BERLIN, keepEmptyRows=True, **body)), table(ask(base, BERLIN, **body))
    assert list(dropped.items()) == [item for item in kept.items() if item[1] != ("0",)] and len(dropped) < len(kept)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"metrics": [{"name": "conversions"}]}, "Field conversions is not a valid metric"),
        ({"dimensions": [{"name": "hour"}]}, "Field hour is not a valid dimension"),
        ({"metrics": [{"name": "sessions"}] * 11}, "limited to 10 metrics"),
        ({"dimensions": [{"name": "date"}] * 10}, "limited to 9 dimensions"),
        ({"metrics": []}, "at least one"),
        ({"dateRanges": []}, "dateRanges"),
        ({"dateRanges": [{"startDate": "2026-13-01", "endDate": "today"}]}, "Invalid date: 2026-13-01"),
        ({"dateRanges": [{"startDate": "today", "endDate": "yesterday"}]}, "is after"),
        ({"limit": "many"}, "Invalid value at 'limit'"),
        ({"offset": -1}, "at least 0"),
        ({"orderBys": [{"dimension": {"dimensionName": "date"}}]}, "OrderBy field date"),
        ({"currencyCode": "USD"}, "currencyCode"),
        ({"page_size": 3}, 'Unknown name "page_size"'),
    ],
)
def test_wrong_requests_are_invalid_arguments(base: str, body: Json, words: str) -> None:
    answer = ask(base, BERLIN, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_official_client_knows_the_refusals(base: str) -> None:
    request = RunReportRequest(
        property=f"properties/{BERLIN.property_id}",
        date_ranges=[DateRange(start_date="7daysAgo", end_date="today")],
        metrics=[Metric(name="nonsense")],
    )
    with pytest.raises(BadRequest, match="nonsense"):
        official(base, BERLIN).run_report(request)
    with pytest.raises(Forbidden):
        official(base, TORONTO).run_report(request)


def test_metadata_lists_what_is_served(base: str) -> None:
    listed = official(base, BERLIN).get_metadata(name=f"properties/{BERLIN.property_id}/metadata")
    assert {one.api_name for one in listed.metrics} == set(traffic.METRICS)
    assert "dateHour" in {one.api_name for one in listed.dimensions}


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("sampled", "samplingMetadatas"),
        ("thresholded", "subjectToThresholding"),
        ("other_row", "dataLossFromOtherRow"),
        ("cut_off", "dataTruncationReasons"),
    ],
)
def test_remarks_on_quality(base: str, kind: str, flag: str) -> None:
    assert flag not in ask(base, BERLIN).json()["metadata"]
    HTTP.post(f"{base}/_sandbox/faults", json={"kind": kind, "account": BERLIN.slug}).raise_for_status()
    request = RunReportRequest(
        property=f"properties/{BERLIN.property_id}",
        date_ranges=[DateRange(start_date="7daysAgo", end_date="today")],
        metrics=[Metric(name="sessions")],
    )
    metadata = official(base, BERLIN).run_report(request).metadata
    assert getattr(metadata, re.sub(r"([A-Z])", r"_\1", flag).lower())
    assert ask(base, BERLIN).json()["metadata"][flag]
    assert flag not in ask(base, TORONTO).json()["metadata"]


# --- Sign-in -----------------------------------------------------------------------------------------------


def signed_in(base: str, one: SandboxOrganization, **changes: str) -> str:
    """An access token, by the vendor's own client."""
    info = json.loads(google_access.service_account(one, base)) | changes
    make: Any = google.oauth2.service_account.Credentials
    credentials = make.from_service_account_info(info, scopes=[SCOPE])
    credentials.refresh(Transport())
    return str(credentials.token)


def test_a_service_account_reads_its_own_property_for_an_hour(sandbox: Sandbox, base: str) -> None:
    token = signed_in(base, BERLIN)
    assert ask(base, BERLIN, token=token).status_code == 200
    other = ask(base, TORONTO, token=token)
    assert (other.status_code, other.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    sandbox.clock.set(AUTUMN + timedelta(seconds=3599))
    assert ask(base, BERLIN, token=token).status_code == 200
    sandbox.clock.set(AUTUMN + timedelta(seconds=3600))
    late = ask(base, BERLIN, token=token)
    assert (late.status_code, late.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert ask(base, BERLIN, token=signed_in(base, BERLIN)).status_code == 200


def test_a_foreign_key_is_refused(base: str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    foreign = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(google.auth.exceptions.RefreshError, match="Invalid JWT Signature"):
        signed_in(base, BERLIN, private_key=foreign.decode())
    with pytest.raises(google.auth.exceptions.RefreshError, match="account not found"):
        signed_in(base, BERLIN, client_email="nobody@sandbox.example")


def test_refresh_tokens(base: str) -> None:
    make: Any = google.oauth2.credentials.Credentials
    credentials = make(
        token=None,
        refresh_token=google_access.refresh_token(BERLIN),
        token_uri=f"{base}/google/token",
        client_id=google_access.CLIENT_ID,
        client_secret=google_access.CLIENT_SECRET,
    )
    credentials.refresh(Transport())
    assert ask(base, BERLIN, token=credentials.token).status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": "1//wrong", "client_id": "a", "client_secret": "b"}
    answer = HTTP.post(f"{base}/google/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert HTTP.post(f"{base}/google/token", data=form | {"client_id": ""}).status_code == 401
    assert HTTP.post(f"{base}/google/token", data={"grant_type": "password"}).json()["error"] == "unsupported_grant_type"


def test_without_a_token(base: str) -> None:
    url = f"{base}/v1beta/properties/{BERLIN.property_id}:runReport"
    assert HTTP.post(url, json={}).status_code == 401
    assert ask(base, BERLIN, token="ya29.nobody").json()["error"]["status"] == "UNAUTHENTICATED"
    headers = {"Authorization": f"Bearer {google_access.static_token(BERLIN)}"}
    assert HTTP.post(f"{base}/v1beta/properties/mine:runReport", json={}, headers=headers).status_code == 400
    assert HTTP.post(f"{base}/v1beta/properties/999:runReport", json={}, headers=headers).status_code == 403
