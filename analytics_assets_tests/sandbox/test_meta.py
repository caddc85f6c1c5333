"""The sandbox as Meta's Marketing API: the vendor's own client reads what the world says, and refusals are the vendor's."""

import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import httpx
import pytest
from facebook_business.adobjects.adaccount import AdAccount  # type: ignore[import-untyped]
from facebook_business.adobjects.adreportrun import AdReportRun  # type: ignore[import-untyped]
from facebook_business.api import FacebookAdsApi  # type: ignore[import-untyped]
from facebook_business.exceptions import FacebookRequestError  # type: ignore[import-untyped]
from facebook_business.session import FacebookSession  # type: ignore[import-untyped]

from analytics_assets.sandbox import ads
from analytics_assets.sandbox.app import running
from analytics_assets.sandbox.hours import days_between, local_hours
from analytics_assets.sandbox.meta_reports import HOURLY
from analytics_assets.sandbox.serve_meta import access_token
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, SandboxOrganization, make_world

AUTUMN, SPRING = datetime(2026, 11, 3, 9, 20, tzinfo=UTC), datetime(2026, 4, 9, 9, 20, tzinfo=UTC)
WORLD = make_world(20, date(2026, 3, 1), orders_per_day=6)
BERLIN, KOLKATA, LOS_ANGELES, ADELAIDE, LORD_HOWE = (WORLD.organizations[n] for n in (0, 1, 2, 3, 18))
SECRET = "app-secret"
DELIVERY = ["spend", "impressions", "clicks", "inline_link_clicks", "outbound_clicks", "actions"]
WINDOWS = ["1d_click", "7d_click", "1d_view"]
Json = dict[str, Any]
# Kept: making a client takes longer than most calls.
HTTP = httpx.Client(verify=False)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox(world=WORLD, clock=Clock(AUTUMN), app_secret=SECRET)
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


def official(base: str, one: SandboxOrganization) -> AdAccount:
    session = FacebookSession("1", SECRET, access_token(one))
    session.GRAPH = base
    return AdAccount(f"act_{one.ad_account}", api=FacebookAdsApi(session))


def ask(base: str, one: SandboxOrganization, path: str = "/insights", *, method: str = "GET", **params: Any) -> httpx.Response:
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
    headers = {"Authorization": f"Bearer {access_token(one)}"}
    return HTTP.request(method, f"{base}/v26.0/act_{one.ad_account}{path}", params=values, headers=headers)


def span(first: date, last: date) -> dict[str, str]:
    return {"since": first.isoformat(), "until": last.isoformat()}


def hourly(base: str, one: SandboxOrganization, day: date) -> dict[int, Json]:
    """Rows of a day by local hour."""
    answer = ask(
        base, one, fields=",".join(DELIVERY), breakdowns=HOURLY, time_range=span(day, day), time_increment="1", limit="500"
    )
    assert answer.status_code == 200, answer.text
    return {int(row[HOURLY][:2]): row for row in answer.json()["data"]}


def action(row: Json, name: str, of: str = "actions") -> Decimal | None:
    """The one entry of that name."""
    found = [Decimal(entry["value"]) for entry in row.get(of, []) if entry["action_type"] == name]
    assert len(found) <= 1
    return found[0] if found else None


# --- Numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("one", [BERLIN, KOLKATA, LOS_ANGELES, ADELAIDE, LORD_HOWE], ids=lambda one: one.ad_zone)
def test_official_client_reads_the_truth(sandbox: Sandbox, base: str, one: SandboxOrganization, now: datetime) -> None:
    """Hour by hour over both clock changes, in pages; days likewise."""
    sandbox.clock.set(now)
    zone = ZoneInfo(one.ad_zone)
    last = now.astimezone(zone).date()
    first = last - timedelta(days=38 if now is SPRING else 32)
    account = official(base, one)
    params: Json = {"level": "account", "time_range": span(first, last), "time_increment": 1, "limit": 200}
    truth: dict[tuple[str, datetime], Decimal] = {}
    for found in account.get_insights(fields=["account_currency", *DELIVERY], params=params | {"breakdowns": [HOURLY]}):
        row = found.export_all_data()
        assert row["account_currency"] == one.ad_currency and row["date_start"] == row["date_stop"]
        label = row[HOURLY]
        assert label[2:] == f":00:00 - {label[:2]}:59:59"
        at = datetime.fromisoformat(f"{row['date_start']}T{label[:8]}").replace(tzinfo=zone).astimezone(UTC)
        values = {
            "ad_spend": row["spend"], "impressions": row["impressions"], "clicks_all": row["clicks"],
            "link_clicks": row.get("inline_link_clicks"), "outbound_clicks": action(row, "outbound_click", "outbound_clicks"),
            "video_views": action(row, "video_view"),
        }  # fmt: skip
        for name, value in values.items():
            if value is not None:
                assert (name, at) not in truth
                truth[name, at] = Decimal(value)
    since = datetime(first.year, first.month, first.day, tzinfo=zone)
    assert truth == {key: value for key, value in ads.hourly_truth(WORLD, one, now).items() if key[1] >= since}
    assert len(truth) > 6 * 400

    days: dict[tuple[str, date], Decimal] = {}
    fields = ["impressions", "reach", "frequency", "actions", "action_values", "purchase_roas", "spend"]
    for found in account.get_insights(fields=fields, params=params | {"limit": 10, "action_attribution_windows": WINDOWS}):
        row = found.export_all_data()
        values = {
            "reach": Decimal(row["reach"]),
            "landing_page_views": action(row, "landing_page_view"),
            "ad_add_to_carts": action(row, "omni_add_to_cart"),
            "ad_checkouts": action(row, "omni_initiated_checkout"),
            "ad_purchases": action(row, "omni_purchase"),
            "ad_purchase_value": action(row, "omni_purchase", "action_values"),
        }
        days |= {(name, date.fromisoformat(row["date_start"])): value for name, value in values.items() if value is not None}
        assert abs(Decimal(row["frequency"]) - Decimal(row["impressions"]) / Decimal(row["reach"])) < Decimal("0.00001")
    assert days == {key: value for key, value in ads.daily_truth(WORLD, one, now).items() if key[1] >= first}


def test_a_conversion_is_repeated_under_several_names(base: str) -> None:
    answer = ask(
        base, BERLIN, fields="spend,actions,action_values,purchase_roas", time_range=span(date(2026, 9, 1), date(2026, 9, 20)),
        time_increment="1", action_attribution_windows=WINDOWS,
    )  # fmt: skip
    rows = [row for row in answer.json()["data"] if "action_values" in row]
    assert rows
    for row in rows:
        names = ("omni_purchase", "purchase", "offsite_conversion.fb_pixel_purchase")
        assert len({action(row, name) for name in names} | {action(row, names[0])}) == 1
        entry = next(entry for entry in row["actions"] if entry["action_type"] == "omni_purchase")
        assert int(entry["7d_click"]) + int(entry.get("1d_view", 0)) == int(entry["value"]) >= int(entry.get("1d_click", 0))
        value = action(row, "omni_purchase", "action_values")
        assert value is not None and value / Decimal(row["spend"]) - Decimal(row["purchase_roas"][0]["value"]) < Decimal(
            "0.00001"
        )


def test_hours_have_no_people_and_no_conversions_of_others(base: str) -> None:
    rows = ask(
        base, BERLIN, fields="spend,reach,frequency,actions,action_values,purchase_roas", breakdowns=[HOURLY],
        time_range=span(date(2026, 9, 1), date(2026, 9, 20)), time_increment="1", limit="500",
    ).json()["data"]  # fmt: skip
    assert {name for row in rows for name in row} == {"spend", "actions", "date_start", "date_stop", HOURLY}
    assert {entry["action_type"] for row in rows for entry in row.get("actions", [])} <= {
        "link_click",
        "post_engagement",
        "video_view",
    }


def test_what_is_zero_is_left_out() -> None:
    hours = [
        hour for day in days_between(date(2026, 9, 1), date(2026, 9, 30)) for hour in ads.ad_day(BERLIN, day, True, AUTUMN).hours
    ]
    assert 0 < len(hours) < 30 * 24
    assert any(not values[3] for _, values in hours) and all(values[0] and values[1] for _, values in hours)
    truth = ads.hourly_truth(WORLD, BERLIN, AUTUMN)
    assert 0 not in {value for (name, _), value in truth.items() if name in ("link_clicks", "outbound_clicks", "video_views")}
    assert 0 in {value for (name, _), value in truth.items() if name == "clicks_all"}


def test_several_days_in_one_row(base: str) -> None:
    window = span(date(2026, 9, 1), date(2026, 9, 14))
    by_day, by_week, whole = (
        ask(base, BERLIN, fields="spend,impressions,reach", time_range=window, time_increment=step, limit="100").json()["data"]
        for step in ("1", "7", "all_days")
    )
    assert [(row["date_start"], row["date_stop"]) for row in by_week] == [
        ("2026-09-01", "2026-09-07"),
        ("2026-09-08", "2026-09-14"),
    ]
    assert len(whole) == 1 and len(by_day) > 10
    for rows in (by_day, by_week):
        assert sum(Decimal(row["spend"]) for row in rows) == Decimal(whole[0]["spend"])
        assert sum(int(row["reach"]) for row in rows) > int(whole[0]["reach"])


# --- Restatement -------------------------------------------------------------------------------------------


def test_delivery_grows_and_conversions_come_for_28_days(sandbox: Sandbox, base: str) -> None:
    day, end = date(2026, 9, 23), datetime(2026, 9, 23, 22, tzinfo=UTC)
    seen: list[tuple[Decimal, Decimal]] = []
    for age in (timedelta(hours=3), timedelta(days=2), timedelta(days=9), timedelta(days=28), timedelta(days=60)):
        sandbox.clock.set(end + age)
        (row,) = ask(base, BERLIN, fields="spend,actions", time_range=span(day, day), time_increment="1").json()["data"]
        seen.append((Decimal(row["spend"]), action(row, "landing_page_view") or Decimal(0)))
    spends, landings = zip(*seen, strict=True)
    assert spends[0] < spends[1] == spends[2] == spends[4]
    assert landings[0] < landings[1] < landings[2] < landings[3] == landings[4]


def test_hours_of_invalid_traffic_vanish(sandbox: Sandbox, base: str) -> None:
    day, hour = next(
        (day, hour)
        for day in days_between(date(2026, 9, 1), date(2026, 10, 20))
        for hour in local_hours(BERLIN.ad_zone, day)
        if hour.start in starts(day, hour.end + 5 * 3600) and hour.start not in starts(day, hour.end + 31 * 3600)
    )
    for age, expected in ((0.5, False), (5, True), (31, False), (900, False)):
        sandbox.clock.set(datetime.fromtimestamp(hour.end + int(age * 3600), UTC))
        assert (hour.hour in hourly(base, BERLIN, day)) is expected


def starts(day: date, at: int) -> set[int]:
    return {hour.start for hour, _ in ads.ad_day(BERLIN, day, True, datetime.fromtimestamp(at, UTC)).hours}


def test_a_world_that_is_not_late_is_final_at_once() -> None:
    punctual, settled = replace(WORLD, late=False), AUTUMN + timedelta(days=40)
    for truth, at in ((ads.hourly_truth, AUTUMN.replace(hour=9, minute=0)), (ads.daily_truth, date(2026, 11, 3))):
        early = {key: value for key, value in truth(punctual, BERLIN, AUTUMN).items() if key[1] < at}
        later = {key: value for key, value in truth(WORLD, BERLIN, settled).items() if key[1] < at}
        assert early == later and len(early) > 500


# --- Protocol ----------------------------------------------------------------------------------------------


def test_the_account(base: str) -> None:
    fields = "currency,timezone_name,timezone_offset_hours_utc,account_status"
    answer = ask(base, ADELAIDE, "", fields=fields)
    assert answer.json() == {
        "currency": "USD", "timezone_name": "Australia/Adelaide", "timezone_offset_hours_utc": 10.5, "account_status": 1,
        "id": f"act_{ADELAIDE.ad_account}",
    }  # fmt: skip
    assert official(base, ADELAIDE).api_get(fields=["name"])["name"] == ADELAIDE.name
    assert "nonexisting field (colour)" in ask(base, ADELAIDE, "", fields="colour").json()["error"]["message"]


def test_pages_end_without_a_next_one(base: str) -> None:
    params: Json = {
        "fields": "spend",
        "time_range": span(date(2026, 9, 1), date(2026, 9, 10)),
        "time_increment": "1",
        "limit": "4",
    }
    rows, after, pages = [], "", 0
    while True:
        answer = ask(base, BERLIN, **params, **({"after": after} if after else {}))
        page, pages = answer.json(), pages + 1
        rows += page["data"]
        usage = json.loads(answer.headers["x-business-use-case-usage"])[BERLIN.ad_account][0]
        assert usage["type"] == "ads_insights" and json.loads(answer.headers["x-fb-ads-insights-throttle"])
        if "next" not in page["paging"]:
            break
        query = parse_qs(urlsplit(page["paging"]["next"]).query)
        after = page["paging"]["cursors"]["after"]
        assert query["after"] == [after] and query["access_token"] == [access_token(BERLIN)]
    whole = ask(base, BERLIN, **params | {"limit": "100"}).json()
    assert rows == whole["data"] and "next" not in whole["paging"] and pages == -(-len(rows) // 4)
    assert ask(base, BERLIN, **params, after="AAAA").json()["error"]["code"] == 100
    nothing = ask(base, BERLIN, fields="spend", time_range=span(date(2026, 1, 1), date(2026, 1, 9)), time_increment="1")
    assert nothing.json() == {"data": []}


def test_a_report_is_made_in_the_background(sandbox: Sandbox, base: str) -> None:
    window = span(date(2026, 3, 1), date(2026, 9, 30))
    params: Json = {"level": "account", "time_range": window, "time_increment": 1, "limit": 100}
    refused = ask(base, BERLIN, fields="spend", **params | {"time_increment": "1", "limit": "100"}).json()["error"]
    assert (refused["code"], refused["error_subcode"]) == (100, 1487534)
    run = official(base, BERLIN).get_insights(fields=["spend"], params=params, is_async=True)
    assert isinstance(run, AdReportRun)
    with pytest.raises(FacebookRequestError, match="has not completed"):
        run.get_insights()
    seen: list[tuple[str, int]] = []
    while not seen or seen[-1][0] != "Job Completed":
        run = run.api_get()
        seen.append((run["async_status"], run["async_percent_completion"]))
    assert seen == [("Job Not Started", 0), ("Job Running", 45), ("Job Completed", 100)]
    # As of when it was ordered, and in pages of the reader's choice.
    sandbox.clock.set(AUTUMN + timedelta(days=3))
    found = {row["date_start"]: Decimal(row["spend"]) for row in run.get_insights(params={"limit": 50})}
    assert found == {
        day.isoformat(): ads.money(reported.delivery[0])
        for day in days_between(date(2026, 3, 1), date(2026, 9, 30))
        if (reported := ads.ad_day(BERLIN, day, True, AUTUMN)).hours
    }
    other = HTTP.get(f"{base}/v26.0/{run['id']}", params={"access_token": access_token(KOLKATA)})
    assert other.json()["error"]["code"] == 200


def test_a_background_report_may_fail(sandbox: Sandbox, base: str) -> None:
    HTTP.post(f"{base}/_sandbox/faults", json={"kind": "failed_job", "most": 1}).raise_for_status()
    run = official(base, BERLIN).get_insights(params={"time_range": span(date(2026, 9, 1), date(2026, 9, 2))}, is_async=True)
    assert run.api_get()["async_status"] == "Job Not Started"
    failed = run.api_get()
    assert (failed["async_status"], failed["error_code"], failed["error_subcode"]) == ("Job Failed", 100, 1487534)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"fields": "spend,profit"}, "profit is not valid for fields"),
        ({"breakdowns": "age"}, "breakdowns[0] must be one of"),
        ({"level": "ad"}, "level must be account"),
        ({"time_range": "2026"}, "time_range must be an object"),
        ({"time_range": {"since": "2026-02-30", "until": "2026-03-01"}}, "time_range must be an object"),
        ({"time_range": {"since": "2026-03-02", "until": "2026-03-01"}}, "cannot be after"),
        ({"time_increment": "0"}, "time_increment must be"),
        ({"date_preset": "forever"}, "date_preset must be"),
        ({"action_attribution_windows": ["7d_view"]}, "action_attribution_windows[0] must be"),
        ({"breakdowns": "[broken"}, "breakdowns must be an array"),
        ({"limit": "none"}, "limit must be"),
    ],
)
def test_wrong_requests(base: str, params: Json, words: str) -> None:
    answer = ask(base, BERLIN, **params)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (400, 100, "OAuthException") and error["fbtrace_id"]
    assert words in error["message"]


def test_who_may_ask(base: str) -> None:
    url = f"{base}/v26.0/act_{BERLIN.ad_account}"

    def code(url: str = url, **params: str) -> tuple[int, int]:
        error = HTTP.get(url, params=params).json()["error"]
        return error["code"], error.get("error_subcode", 0)

    token = access_token(BERLIN)
    assert code() == (104, 0) and code(access_token="EAAwrong") == (190, 0)
    assert code(access_token=access_token(KOLKATA)) == (200, 0)
    assert code(f"{base}/v26.0/act_1", access_token=token) == (100, 33)
    assert code(f"{base}/v26.0/12345", access_token=token) == (100, 33)
    assert code(f"{base}/v22.0/act_{BERLIN.ad_account}", access_token=token) == (2635, 0)
    assert code(access_token=token, appsecret_proof="0" * 64) == (100, 0)
    proof = hmac.new(SECRET.encode(), token.encode(), sha256).hexdigest()
    assert HTTP.get(url, params={"access_token": token, "appsecret_proof": proof}).status_code == 200
    with pytest.raises(FacebookRequestError) as caught:
        official(base, replace(BERLIN, seed=1)).api_get()
    assert caught.value.api_error_code() == 190
