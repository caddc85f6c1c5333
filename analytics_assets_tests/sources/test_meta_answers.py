"""Answers of the Marketing API that are errors, or that cannot be read."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import Response

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
from analytics_assets_tests.sources.ad_account import (
    HOURLY,
    HOURS,
    ONE_DAY,
    PROOF,
    TOKEN,
    Meta,
    business_usage,
    daily,
    failure,
    graph,
    hour,
    read,
)
from analytics_assets_tests.sources.vendor import Asked, Vendor, reply, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


# --- Answers that cannot be read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (hour("2026-11-20", 1, spend="NaN"), "row 1 (2026-11-20 01): spend 'NaN' is no number"),
        (hour("2026-11-20", 1, impressions=1000), "impressions 1000 is no number"),
        (hour("2026-11-20", 1, inline_link_clicks="1,000"), "inline_link_clicks '1,000'"),
        (hour("2026-11-20", 1, account_currency="USD"), "account_currency 'USD' is not EUR"),
        (hour("2026-11-20", 1, account_currency=None), "account_currency None is not EUR"),
        (hour("2026-11-20", 1, account_id="7002"), "account_id '7002' is not 7001"),
        (hour("2026-11-23", 1), "date_start '2026-11-23' is none of 2026-11-20 to 2026-11-22"),
        (hour("20261120", 1), "date_start '20261120'"),
        (hour("2026-11-31", 1), "date_start '2026-11-31'"),
        (hour("2026-11-20", 1, date_stop="2026-11-22"), "date_stop '2026-11-22' is not its date_start"),
        (hour("2026-11-20", 24), "row 1 (2026-11-20): hourly_stats_aggregated_by_advertiser_time_zone '24:00:00 - 24:59:59'"),
        (hour("2026-11-20", 1) | {HOURLY: "14:00:00 - 15:59:59"}, "'14:00:00 - 15:59:59' is no hour"),
        (daily("2026-11-20"), "None is no hour such as"),
        (hour("2026-11-20", 1, actions=[{"action_type": "video_view", "value": "many"}]), "actions 'video_view' value 'many'"),
        (hour("2026-11-20", 1, outbound_clicks=[{"action_type": "o", "7d_click": ""}]), "outbound_clicks 'o' 7d_click ''"),
        (hour("2026-11-20", 1, actions={"video_view": "1"}), "actions {'video_view': '1'} is no list"),
        (hour("2026-11-20", 1, actions=[{"value": "1"}]), "which is no action"),
        ("a row", "row 1: 'a row' is no object"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(vendor: Vendor, row: Any, words: str) -> None:
    vendor.answer = Meta(row)
    (page,) = read(vendor)
    assert words in page.broken
    assert (page.position, json.loads(page.body)["data"]) == (None, [row])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"data": {}}, "data: {} is no list of rows"),
        (["no object"], "data: None is no list"),
        ({"data": HOURS[:1] * 2}, "row 2: 2026-11-20 00 is there twice"),
        ({"data": HOURS[:1], "paging": {"next": "http://127.0.0.1:9/"}}, "paging.cursors.after: None"),
    ],
)
def test_an_answer_that_cannot_be_read_is_set_aside(vendor: Vendor, answer: Any, words: str) -> None:
    vendor.answer = meta = Meta()
    meta.first = lambda _: reply(answer)
    (page,) = read(vendor)
    assert words in page.broken and page.position is None


# --- Failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "more", "kind"),
    [
        *((code, {}, Throttled) for code in (4, 17, 32, 613, 80000, 80003, 80004)),
        (17, {"error_subcode": 2446079}, Throttled),
        (613, {"error_subcode": 1487742}, Throttled),
        (100, {"error_subcode": 1487534}, AskForLess),
        (1, {"message": "Please reduce the amount of data you're asking for, then retry your request"}, AskForLess),
        (2, {"error_subcode": 1504018}, AskForLess),
        (2, {"error_subcode": 1504038}, AskForLess),
        (2, {"error_subcode": 1504043, "status": 500}, AskForLess),
        (1, {"error_subcode": 99, "status": 500}, RetryLater),
        (2, {"status": 503}, RetryLater),
        (4711, {"is_transient": True}, RetryLater),
        (190, {"error_subcode": 463, "status": 401}, Reauthorize),
        (102, {}, Reauthorize),
        (10, {"status": 403}, PermissionDenied),
        (200, {"status": 403}, PermissionDenied),
        (294, {}, PermissionDenied),
        (2635, {}, WrongConfiguration),
        (100, {"error_subcode": 33}, WrongConfiguration),
        (803, {}, WrongConfiguration),
        (3018, {}, WrongConfiguration),
        (100, {"message": "Invalid appsecret_proof provided in the API argument"}, WrongConfiguration),
        (100, {"message": "(#100) Tried accessing nonexisting field"}, Bug),
        (4711, {}, Bug),
    ],
)
def test_errors_by_their_code(vendor: Vendor, code: int, more: dict[str, Any], kind: type[SourceFailure]) -> None:
    vendor.answer = meta = Meta()
    meta.first = graph(code, **more)
    found = failure(vendor)
    assert type(found) is kind
    assert "act_7001" in str(found) and f"code {code}" in str(found)
    assert str(more.get("message", "as it says"))[:40] in str(found)


def test_an_error_may_come_with_status_200(vendor: Vendor) -> None:
    vendor.answer = graph(190, status=200)
    assert isinstance(failure(vendor), Reauthorize)


def test_a_day_that_takes_the_vendor_too_long_is_asked_for_later(vendor: Vendor) -> None:
    """There is no shorter window that would let it go on by itself."""
    vendor.answer = meta = Meta()
    meta.first = graph(2, error_subcode=1504018)
    assert isinstance(failure(vendor, window=ONE_DAY), RetryLater)


@pytest.mark.parametrize(("headers", "seconds"), [(business_usage(100, 7), 420), ({"Retry_After": "33"}, 33), ({}, 300)])
def test_when_throttled_calls_are_allowed_again(vendor: Vendor, headers: dict[str, str], seconds: int) -> None:
    vendor.answer = lambda _: reply({"error": {"message": "too many calls", "code": 80000}}, 400, **headers)
    found = failure(vendor, patience=5.0)
    assert isinstance(found, Throttled) and found.retry_at is not None
    assert timedelta(seconds=seconds - 5) < found.retry_at - datetime.now(UTC) <= timedelta(seconds=seconds)
    assert len(vendor.asked) == 1


def test_a_passing_error_is_tried_again(vendor: Vendor) -> None:
    meta = Meta(*HOURS)
    vendor.answer = lambda asked: graph(2, status=500)(asked) if len(vendor.asked) == 1 else meta(asked)
    assert [page.records for page in read(vendor, patience=5.0)] == [5]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda _: Response(json.dumps({"data": HOURS})[:-30]), RetryLater, "breaks off"),
        (lambda _: Response("<!doctype html><html>sorry</html>", media_type="text/html"), RetryLater, "HTML page"),
        (lambda _: Response("<html>bad gateway</html>", 502), RetryLater, "HTTP 502"),
        (lambda _: Response("slow down", 429), Throttled, "HTTP 429"),
        (lambda _: reply({"what": "is this"}, 400), Bug, "is this"),
        (lambda _: Response(status_code=302, headers={"location": "https://elsewhere.example/"}), WrongConfiguration, "redirect"),
    ],
)
def test_answers_without_an_error_of_metas(
    vendor: Vendor, answer: Callable[[Asked], Response], kind: type[SourceFailure], words: str
) -> None:
    vendor.answer = meta = Meta()
    meta.first = answer
    found = failure(vendor)
    assert type(found) is kind and words in str(found)


def test_no_secret_stands_in_a_message(vendor: Vendor) -> None:
    vendor.answer = graph(190, f"Malformed access token {TOKEN} the-app-secret {PROOF}")
    found = failure(vendor, app_secret="the-app-secret")
    assert str(found).count("[secret]") == 3
    assert not any(text in str(found) for text in (TOKEN, "the-app-secret", PROOF))
