"""The Meta Ads connector against a server that answers as the Marketing API does."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import Response

from analytics_assets.sandbox import ads
from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets.sources.connector import JSON, RawPage
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.meta_ads import MetaAds
from analytics_assets.sources.report_windows import LocalDays
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.ad_account import (
    HOURLY,
    HOURS,
    ONE_DAY,
    PROOF,
    SECRETS,
    THREE_DAYS,
    TOKEN,
    Meta,
    business_usage,
    daily,
    data_calls,
    days,
    failure,
    graph,
    hour,
    insights_usage,
    read,
    work,
)
from analytics_assets_tests.sources.vendor import Vendor, gathered, reply, serving, source, task, with_connector


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


# --- Reports ---------------------------------------------------------------------------------------------------------


def test_hours_are_asked_for_as_documented_and_kept_verbatim(vendor: Vendor) -> None:
    body = json.dumps({"data": [hour("2026-11-20", 0), hour("2026-11-22", 23)], "paging": {}}, indent=1).encode()
    vendor.answer = meta = Meta()
    meta.first = lambda _: Response(body)
    (page,) = read(vendor)
    account, insights = vendor.asked
    assert (account.method, account.path) == ("GET", "/v26.0/act_7001")
    assert account.params == {"fields": "currency,timezone_name,timezone_offset_hours_utc,account_status,name"}
    assert (insights.method, insights.path) == ("GET", "/v26.0/act_7001/insights")
    assert insights.params == {
        "level": "account",
        "fields": "account_id,account_currency,spend,impressions,clicks,inline_link_clicks,outbound_clicks,actions",
        "breakdowns": HOURLY,
        "time_range": '{"since":"2026-11-20","until":"2026-11-22"}',
        "time_increment": "1",
        "limit": "500",
    }
    for asked in vendor.asked:
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in asked.target
    assert page.body == body
    assert (page.stream, page.number, page.records, page.position, page.broken) == ("hourly", 1, 2, None, "")
    assert (page.window_start, page.window_end) == THREE_DAYS
    assert (page.time_zone, page.currency, page.api_version) == ("Europe/Berlin", "EUR", "v26.0")
    assert (page.instants, page.keys, page.flags) == ((), (), ())


def test_days_with_actions_that_are_left_as_they_are(vendor: Vendor) -> None:
    """The same purchases come under three names; which of them counts is not decided here."""
    actions = [
        {"action_type": name, "value": "3", "1d_click": "1", "7d_click": "2", "1d_view": "1"}
        for name in ("purchase", "omni_purchase", "offsite_conversion.fb_pixel_purchase")
    ]
    row = daily("2026-11-20", actions=actions, action_values=[{"action_type": "purchase", "value": "99.90"}])
    vendor.answer = Meta(row)
    (page,) = read(vendor, "daily")
    assert json.loads(page.body)["data"] == [row]
    assert (page.records, page.broken) == (1, "")
    asked = data_calls(vendor)[0].params
    assert asked["fields"] == (
        "account_id,account_currency,spend,impressions,reach,frequency,actions,action_values,purchase_roas"
    )
    assert asked["action_attribution_windows"] == '["1d_click","7d_click","1d_view"]'
    assert "breakdowns" not in asked


def test_policies() -> None:
    assert [(one.stream, one.kind, one.each_sync, one.reread, one.widest) for one in MetaAds.policies] == [
        (stream, "report", timedelta(days=3), timedelta(days=28), timedelta(days=widest))
        for stream, widest in (("hourly", 31), ("daily", 90))
    ]


def test_an_unknown_stream_is_ours_to_mend(vendor: Vendor) -> None:
    assert isinstance(failure(vendor, stream="weekly"), Bug)


def test_pages_by_cursor_and_resumed_from_any_of_them(vendor: Vendor) -> None:
    vendor.answer = Meta(*HOURS)
    pages = read(vendor, page_size=2)
    # paging.next was never followed.
    assert [asked.params.get("after") for asked in data_calls(vendor)] == [None, "c2", "c4"]
    assert [(page.number, page.records) for page in pages] == [(1, 2), (2, 2), (3, 1)]
    assert [page.position and page.position["after"] for page in pages] == ["c2", "c4", None]
    for number, page in enumerate(pages[:2], 1):
        rest = read(vendor, position=json.loads(json.dumps(page.position)), page_size=2)
        assert [(one.number, one.body, one.window_start) for one in rest] == [
            (one.number, one.body, one.window_start) for one in pages[number:]
        ]


def test_a_cursor_after_the_last_page_is_no_next_page(vendor: Vendor) -> None:
    vendor.answer = Meta(*HOURS[:2])
    (page,) = read(vendor, page_size=2)
    assert "cursors" in json.loads(page.body)["paging"]
    assert page.position is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda start, answer: answer | {"data": HOURS[1:3]} if start else answer, id="an hour again"),
        pytest.param(
            lambda start, answer: answer | {"paging": {"cursors": {"after": "c2"}, "next": "x"}} if start else answer,
            id="the same cursor for ever",
        ),
    ],
)
def test_a_report_that_changes_between_pages_is_read_again(vendor: Vendor, change: Callable[[int, JSON], JSON]) -> None:
    vendor.answer = meta = Meta(*HOURS)
    meta.change = change
    with pytest.raises(WindowMoved):
        read(vendor, page_size=2)


def test_a_position_of_an_account_in_another_zone_is_read_again(vendor: Vendor) -> None:
    vendor.answer = Meta(*HOURS)
    position = read(vendor, page_size=2)[0].position
    vendor.answer = Meta(*HOURS, zone="Europe/Paris")
    with pytest.raises(WindowMoved):
        read(vendor, position=position, page_size=2)


def test_a_cursor_that_is_no_longer_known_is_read_again(vendor: Vendor) -> None:
    vendor.answer = meta = Meta(*HOURS)
    position = read(vendor, page_size=2)[0].position
    meta.first = graph(100, "(#100) Invalid cursor.")
    with pytest.raises(WindowMoved):
        read(vendor, position=position, page_size=2)


def test_an_empty_answer_is_a_page(vendor: Vendor) -> None:
    vendor.answer = Meta()
    for stream in ("hourly", "daily"):
        (page,) = read(vendor, stream)
        assert (page.records, page.position, page.broken) == (0, None, "")
        assert (page.window_start, page.window_end) == THREE_DAYS


def test_other_cursors_say_nothing_new(vendor: Vendor) -> None:
    def told(cursor: str, spend: str = "1.00") -> RawPage:
        answer = {"data": [hour("2026-11-20", 1, spend=spend)], "paging": {"cursors": {"before": cursor, "after": cursor}}}
        vendor.answer = meta = Meta()
        meta.first = lambda _: reply(answer)
        return read(vendor)[0]

    assert told("a").sameness == told("b").sameness != told("b", "2.00").sameness


# --- Zones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "start", "end"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("Asia/Kathmandu", "2026-11-20", "2026-11-19T18:15", "2026-11-20T18:15"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", "2026-04-05T13:30"),
        ("America/Los_Angeles", "2026-11-01", "2026-11-01T07:00", "2026-11-02T08:00"),
    ],
)
def test_the_window_is_in_the_accounts_own_zone(vendor: Vendor, zone: str, day: str, start: str, end: str) -> None:
    """Whatever zone was known: here Berlin."""
    vendor.answer = Meta(hour(day, 23, account_currency="INR"), zone=zone, currency="INR")
    (page,) = read(vendor, window=days(day, day, ZoneInfo(zone)))
    assert json.loads(data_calls(vendor)[0].params["time_range"]) == {"since": day, "until": day}
    assert (page.time_zone, page.currency, page.broken) == (zone, "INR", "")
    assert (page.window_start, page.window_end) == tuple(datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (start, end))


def test_a_window_of_another_zone_is_asked_for_with_every_day_that_it_touches(vendor: Vendor) -> None:
    """The account was moved from Tokyo to Berlin after the window was planned."""
    vendor.answer = Meta()
    (page,) = read(vendor, window=days("2026-11-20", "2026-11-22", ZoneInfo("Asia/Tokyo")))
    assert json.loads(data_calls(vendor)[0].params["time_range"]) == {"since": "2026-11-19", "until": "2026-11-22"}
    assert (page.window_start, page.window_end) == days("2026-11-19", "2026-11-22")


def test_a_connector_asks_for_the_account_once(vendor: Vendor) -> None:
    async def two_streams(one: MetaAds) -> None:
        for stream in ("hourly", "daily"):
            await gathered(one.pages(task(stream, *THREE_DAYS)))

    vendor.answer = Meta()
    work(vendor, two_streams)
    assert [asked.path for asked in vendor.asked].count("/v26.0/act_7001") == 1


# --- Background reports ----------------------------------------------------------------------------------------------

NINETY_DAYS = days("2026-08-01", "2026-10-29")


def running_at(percent: int) -> JSON:
    return {"async_status": "Job Running", "async_percent_completion": percent}


COMPLETED = {"async_status": "Job Completed", "async_percent_completion": 100}


@pytest.mark.parametrize(
    ("stream", "window", "purpose", "in_background"),
    [
        ("hourly", days("2026-10-01", "2026-10-31"), "incremental", False),
        ("hourly", days("2026-10-01", "2026-10-31"), "reread", False),
        ("daily", days("2026-10-01", "2026-11-01"), "incremental", True),
        ("hourly", THREE_DAYS, "backfill", True),
    ],
)
def test_wide_windows_and_backfills_are_made_in_the_background(
    vendor: Vendor, stream: str, window: tuple[datetime, datetime], purpose: str, in_background: bool
) -> None:
    vendor.answer = Meta()
    read(vendor, stream, window, purpose=purpose)
    assert ("POST" in [asked.method for asked in vendor.asked]) is in_background


def test_a_background_report_is_ordered_waited_for_and_read_by_cursor(vendor: Vendor) -> None:
    rows = [daily(f"2026-08-{number:02}") for number in range(1, 6)]
    vendor.answer = meta = Meta(*rows)
    meta.statuses = [{"async_status": "Job Not Started"}, {"async_status": "Job Started"}, running_at(40), COMPLETED]
    pages = read(vendor, "daily", NINETY_DAYS, page_size=2, app_secret="the-app-secret")
    _, order, *polls = vendor.asked
    assert (order.method, order.path, order.params) == ("POST", "/v26.0/act_7001/insights", {"appsecret_proof": PROOF})
    form = dict(parse_qsl(order.body.decode()))
    assert form["time_range"] == '{"since":"2026-08-01","until":"2026-10-29"}'
    assert (form["level"], form["time_increment"]) == ("account", "1")
    assert [asked.path for asked in polls] == ["/v26.0/6001"] * 4 + ["/v26.0/6001/insights"] * 3
    assert [asked.params.get("after") for asked in polls[4:]] == [None, "c2", "c4"]
    assert "time_range" not in polls[4].params
    assert [page.records for page in pages] == [2, 2, 1]
    assert pages[0].position is not None and pages[0].position["report_run_id"] == "6001"
    vendor.asked = []
    rest = read(vendor, "daily", NINETY_DAYS, pages[0].position, page_size=2)
    # It is there already: nothing is ordered anew.
    assert [asked.path for asked in vendor.asked] == ["/v26.0/act_7001"] + ["/v26.0/6001/insights"] * 2
    assert [page.body for page in rest] == [page.body for page in pages[1:]]


def test_a_background_report_that_is_gone_is_ordered_anew(vendor: Vendor) -> None:
    vendor.answer = meta = Meta(*[daily(f"2026-08-{number:02}") for number in range(1, 4)])
    position = read(vendor, "daily", NINETY_DAYS, page_size=2)[0].position
    meta.first = graph(100, "Unsupported get request. Object with ID '6001' does not exist", error_subcode=33)
    with pytest.raises(WindowMoved):
        read(vendor, "daily", NINETY_DAYS, position, page_size=2)


FAILED = {"async_status": "Job Failed", "async_percent_completion": 45}


@pytest.mark.parametrize(
    ("status", "window", "kind"),
    [
        (FAILED | {"error_code": 100, "error_subcode": 1487534}, NINETY_DAYS, AskForLess),
        (FAILED | {"error_code": 2, "error_message": "temporary"}, NINETY_DAYS, RetryLater),
        (FAILED | {"error_code": "190", "error_message": "expired"}, NINETY_DAYS, Reauthorize),
        (FAILED, NINETY_DAYS, AskForLess),
        (FAILED, ONE_DAY, RetryLater),
        ({"async_status": "Job Skipped"}, NINETY_DAYS, RetryLater),
        ({"async_status": "Job Lost"}, NINETY_DAYS, RetryLater),
    ],
)
def test_background_reports_that_fail(
    vendor: Vendor, status: JSON, window: tuple[datetime, datetime], kind: type[SourceFailure]
) -> None:
    vendor.answer = meta = Meta()
    meta.statuses = [running_at(5), status]
    assert type(failure(vendor, stream="daily", window=window, purpose="backfill")) is kind


@pytest.mark.parametrize(("window", "kind"), [(NINETY_DAYS, AskForLess), (ONE_DAY, RetryLater)])
def test_a_background_report_that_takes_too_long_is_made_smaller(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, window: tuple[datetime, datetime], kind: type[SourceFailure]
) -> None:
    """Begun anew each time, one that needs longer would never come to its end."""
    monkeypatch.setattr(MetaAds, "run_seconds", 0.25)
    vendor.answer = meta = Meta()
    meta.statuses = [running_at(40)]
    found = failure(vendor, stream="daily", window=window, purpose="backfill")
    assert type(found) is kind and "at 40 %" in str(found)
    assert (found.retry_at is not None) is (kind is RetryLater)


def test_an_order_without_a_number_is_not_understood(vendor: Vendor) -> None:
    vendor.answer = meta = Meta()
    meta.first = lambda _: reply({"report_run_id": "../act_7002"})
    assert isinstance(failure(vendor, window=NINETY_DAYS), Bug)
    assert len(vendor.asked) == 2


# --- Usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "flags"),
    [
        (business_usage(74), ()),
        (business_usage(75), ("throttle_near",)),
        (insights_usage(74.9), ()),
        (insights_usage(80), ("throttle_near",)),
        ({"x_Fb_Ads_Insights_Reach_Throttle": '{"app_id_util_pct": 90}'}, ("throttle_near",)),
        ({"X_FB_Ads_Insights_Throttle": "no JSON"}, ()),
        ({"X_Business_Use_Case_Usage": '{"7001": [{"call_count": "many"}], "x": null}'}, ()),
        (business_usage(100, 9), ("throttle_near",)),
    ],
)
def test_usage_is_flagged(vendor: Vendor, headers: dict[str, str], flags: tuple[str, ...]) -> None:
    vendor.answer = Meta(*HOURS, **headers)
    # With no more pages to come there is nothing to wait for.
    assert read(vendor)[0].flags == flags


@pytest.mark.parametrize(("headers", "minutes"), [(business_usage(95, 12), 12), (insights_usage(99), 5)])
def test_hardly_any_calls_left_ends_the_sync_after_the_page(vendor: Vendor, headers: dict[str, str], minutes: int) -> None:
    vendor.answer = Meta(*HOURS, **headers)
    found: list[RawPage] = []

    async def until_throttled(one: MetaAds) -> None:
        async for page in one.pages(task("hourly", *THREE_DAYS)):
            found.append(page)

    with pytest.raises(Throttled) as info:
        work(vendor, until_throttled, page_size=2)
    assert [page.records for page in found] == [2]
    assert found[0].position is not None
    wait = info.value.retry_at - datetime.now(UTC) if info.value.retry_at else timedelta()
    assert timedelta(minutes=minutes, seconds=-10) < wait <= timedelta(minutes=minutes)
    vendor.answer = Meta(*HOURS)
    assert [page.number for page in read(vendor, position=found[0].position, page_size=2)] == [2, 3]


# --- Credentials, account, settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "deployments", "proof"),
    [
        ("", "", None),
        # HMAC-SHA256 of the token by the app's secret, as `openssl dgst -sha256 -hmac the-app-secret` says.
        ("", "the-app-secret", "PROOF"),
        ("the-app-secret", "another-secret", "PROOF"),
    ],
)
def test_the_proof_of_the_apps_secret(vendor: Vendor, own: str, deployments: str, proof: str | None) -> None:
    vendor.answer = Meta()
    read(vendor, secrets=SECRETS | ({"app_secret": own} if own else {}), app_secret=deployments)
    assert {asked.params.get("appsecret_proof") for asked in vendor.asked} == {PROOF if proof else None}


def test_the_account_says_what_it_is(vendor: Vendor) -> None:
    vendor.answer = Meta(zone="Australia/Adelaide", currency="AUD")
    found = work(vendor, lambda one: one.account())
    assert (found.time_zone, found.currency, found.name, found.notes) == ("Australia/Adelaide", "AUD", "The Shop", ())


@pytest.mark.parametrize(
    ("status", "note"), [(2, "account_status:disabled"), (101, "account_status:closed"), (55, "account_status:55")]
)
def test_an_account_that_is_not_active_is_noted(vendor: Vendor, status: int, note: str) -> None:
    vendor.answer = Meta(status=status)
    assert work(vendor, lambda one: one.account()).notes == (note,)


@pytest.mark.parametrize(
    ("more", "words"), [({"zone": "Mars/Olympus"}, "timezone_name 'Mars/Olympus'"), ({"currency": "Euro"}, "currency 'Euro'")]
)
def test_an_account_that_is_not_understood(vendor: Vendor, more: dict[str, str], words: str) -> None:
    vendor.answer = Meta(**more)
    with pytest.raises(Bug, match=words):
        work(vendor, lambda one: one.account())


@pytest.mark.parametrize("value", ["act_7001", "7001", " 7001 ", 7001])
def test_account_ids(value: Any) -> None:
    assert MetaAds.check_settings({"account_id": value}, Vendors()) == {"account_id": "7001"}


@pytest.mark.parametrize("value", [None, "", "act_", "act_x", "07", "7001/insights", "act_act_7", True, "７"])
def test_no_account_ids(value: Any) -> None:
    with pytest.raises(WrongConfiguration, match=r"account_id: .* expected its number"):
        MetaAds.check_settings({"account_id": value}, Vendors())


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(WrongConfiguration, match="'account': no setting"):
        MetaAds.check_settings({"account_id": "1", "account": "1"}, Vendors())


# --- The sandbox -----------------------------------------------------------------------------------------------------

NAMES = {"spend": "ad_spend", "impressions": "impressions", "clicks": "clicks_all", "inline_link_clicks": "link_clicks"}
ACTIONS = {
    "omni_landing_page_view": "landing_page_views", "omni_add_to_cart": "ad_add_to_carts",
    "omni_initiated_checkout": "ad_checkouts", "omni_purchase": "ad_purchases",
}  # fmt: skip


@pytest.mark.parametrize("purpose", ["incremental", "backfill"])
def test_the_sandboxs_reports_say_what_its_world_says(monkeypatch: pytest.MonkeyPatch, purpose: str) -> None:
    """An account in Adelaide and US dollars in the week in which clocks go forward there; asked for directly and in the
    background, in pages of 50 rows."""
    world, now = make_world(4, date(2026, 9, 30)), datetime(2026, 10, 7, 15, tzinfo=UTC)
    one = world.organizations[3]
    zone = ZoneInfo(one.ad_zone)
    assert (one.ad_zone, one.ad_currency) == ("Australia/Adelaide", "USD")
    with running(Sandbox(world=world, clock=Clock(now), app_secret="the-app-secret")) as base:
        for name, value in vendor_environment(base).items():
            monkeypatch.setenv(name, value)
        settings, secrets = connection_of(one, "meta_ads", base)
        window = LocalDays(world.first_day, now.astimezone(zone).date()).window(zone)

        async def everything(connector: MetaAds) -> list[RawPage]:
            return [page for s in ("hourly", "daily") for page in await gathered(connector.pages(task(s, *window, purpose)))]

        given = source("meta_ads", settings, secrets | {"app_secret": "the-app-secret"})
        pages = with_connector(MetaAds, given, Vendors.load(), everything, page_size=50)
    assert len(pages) > 3
    assert {(page.broken, page.time_zone, page.currency, page.window_start) for page in pages} == {
        ("", "Australia/Adelaide", "USD", window[0])
    }
    assert hours_of(pages, zone) == ads.hourly_truth(world, one, now)
    assert days_of(pages) == ads.daily_truth(world, one, now)


def rows_of(pages: list[RawPage], stream: str) -> Iterator[JSON]:
    for page in pages:
        if page.stream == stream:
            yield from json.loads(page.body)["data"]


def value_in(actions: list[JSON], kind: str) -> Decimal | None:
    return next((Decimal(one["value"]) for one in actions if one["action_type"] == kind), None)


def hours_of(pages: list[RawPage], zone: ZoneInfo) -> dict[tuple[str, datetime], Decimal]:
    found: dict[tuple[str, datetime], Decimal] = {}
    for row in rows_of(pages, "hourly"):
        at = datetime.fromisoformat(f"{row['date_start']}T{row[HOURLY][:8]}").replace(tzinfo=zone).astimezone(UTC)
        values = {name: Decimal(row[native]) for native, name in NAMES.items() if native in row}
        values |= {
            name: value
            for name, field, kind in (
                ("outbound_clicks", "outbound_clicks", "outbound_click"),
                ("video_views", "actions", "video_view"),
            )
            if (value := value_in(row.get(field, []), kind)) is not None
        }
        found |= {(name, at): value for name, value in values.items()}
    return found


def days_of(pages: list[RawPage]) -> dict[tuple[str, date], Decimal]:
    found: dict[tuple[str, date], Decimal] = {}
    for row in rows_of(pages, "daily"):
        values: dict[str, Decimal | None] = {"reach": Decimal(row["reach"])}
        values |= {name: value_in(row.get("actions", []), kind) for kind, name in ACTIONS.items()}
        values["ad_purchase_value"] = value_in(row.get("action_values", []), "omni_purchase")
        day = date.fromisoformat(row["date_start"])
        found |= {(name, day): value for name, value in values.items() if value is not None}
    return found
