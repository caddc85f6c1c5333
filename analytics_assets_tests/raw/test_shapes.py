"""What is a page of a stream, and what is not."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_assets.raw.shapes import STREAMS, Page, PageError, read_page
from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.woocommerce import customer, order, refund

AT = datetime(2026, 3, 2, 10, 40, 7, tzinfo=UTC)
DOCS = PROJECT_ROOT.parent / "shared" / "data" / "payloads" / "woocommerce" / "rest_api_docs"
COUPON = {"id": 1, "code": "10off", "amount": "10.00", "discount_type": "percent", "date_created_gmt": "2026-03-02T10:00:00"}
ERROR = {"code": "woocommerce_rest_cannot_view", "message": "Sorry, you cannot list resources.", "data": {"status": 401}}


def read(content: Any, stream: str = "orders", zone: str = "UTC") -> Page:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_page(raw, STREAMS["woocommerce", stream], zone)


def with_text(literal: str) -> bytes:
    """An orders page with a JSON literal in it, as it is."""
    return json.dumps([order(1, AT, note="HERE")]).replace('"HERE"', literal).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>503 Service Unavailable</title>", "HTML or XML, not JSON"),
        (b"  \n<?xml version='1.0'?>", "HTML or XML, not JSON"),
        (with_text('"x"')[:-20], "no JSON: "),
        (with_text('"x"') + b"[]", "no JSON: Extra data at character"),
        (b"", "no JSON: "),
        (ERROR, "an error response: woocommerce_rest_cannot_view: Sorry, you cannot list resources."),
        (with_text('"a\\u0000b"'), "holds the character NUL"),
        (with_text('"\\\\\\u0000"'), "holds the character NUL"),
        (with_text('"a\x00b"'), "no JSON: Invalid control character"),
        (with_text('"\\ud83d"'), "half of a surrogate pair"),
        (with_text('"\\udE00\\ud83d"'), "half of a surrogate pair"),
        (with_text("NaN"), "NaN is not JSON"),
        (with_text("-Infinity"), "-Infinity is not JSON"),
        (with_text("1e99999"), "the number 1e99999 is out of range"),
        (with_text("1.5E-99999"), "the number 1.5E-99999 is out of range"),
        (with_text("9" * 5_000), "no JSON that can be kept"),
        (with_text("[" * 100_000 + "]" * 100_000), "JSON nested too deeply"),
        (with_text('"\xff"').decode("utf-8").encode("latin-1"), "not UTF-8 at byte"),
        ("[]".encode("utf-16"), "not UTF-8 at byte 0"),
        (b"null", "this is null"),
        (b'"orders"', "this is text"),
        (b"42", "this is a value"),
        (b"[[]]", "this is a list"),
        (b"{}", "this is an object"),
        ([{"id": 1, "status": "publish", "name": "Shoes"}], "this is an object with id, name, status"),
        ([refund(9, AT, "3.00", shipping="1.00")], "no page of woocommerce orders"),
        ([customer(5, "a@example.org", AT)], "no page of woocommerce orders"),
        ([COUPON], "no page of woocommerce orders"),
    ],
)
def test_what_is_no_page_of_orders_is_told(content: Any, reason: str) -> None:
    with pytest.raises(PageError) as refused:
        read(content)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("stream", "content"),
    [
        ("refunds", [order(1, AT)]),
        ("refunds", [customer(5, "a@example.org", AT)]),
        ("refunds", [COUPON]),
        ("customers", [order(1, AT)]),
        ("customers", [refund(9, AT, "3.00")]),
        ("customers", [COUPON]),
    ],
)
def test_page_of_another_stream_is_refused(stream: str, content: Any) -> None:
    with pytest.raises(PageError, match=f"no page of woocommerce {stream}: a record has id and "):
        read(content, stream)


@pytest.mark.skipif(not DOCS.is_dir(), reason="no copy of the vendor's examples")
@pytest.mark.parametrize("stream", ["orders", "refunds", "customers"])
def test_vendors_own_examples_are_told_apart(stream: str) -> None:
    prefix = {"orders": "orders", "refunds": "order-refunds", "customers": "customers"}[stream]

    def taken(file: Path) -> bool:
        try:
            return read(file.read_bytes(), stream).records > 0
        except PageError:
            return False

    files = sorted(DOCS.glob("*.json"))
    expected = {f.name for f in files if f.name.startswith(f"{prefix}__") and "downloads" not in f.name}
    assert len(expected) >= 3
    assert {f.name for f in files if taken(f)} == expected


@pytest.mark.parametrize(
    "literal",
    [
        '"\\ud83d\\ude00"',
        '"\U0001f600"',
        '"\\\\u0000"',
        '"\\\\ud83d"',
        "1e400",
        "-1.5E-300",
        "9" * 4_000,
        "-0.0",
        "[" * 300 + "]" * 300,
        "{}",
        '""',
    ],
)
def test_odd_but_sound_json_is_a_page(literal: str) -> None:
    content = with_text(literal)
    page = read(content)
    assert page.records == 1
    assert page.text.encode() == content


def test_page_may_be_empty_one_record_or_begin_with_a_byte_order_mark() -> None:
    assert (read([]).records, read([]).instants) == (0, [])
    assert read(order(1, AT)).records == 1
    assert read(b"\xef\xbb\xbf" + json.dumps([order(1, AT)]).encode()) == read([order(1, AT)])
    assert read({"code": "x", "message": "y"} | order(1, AT)).records == 1  # an order with such fields is no error


def test_one_broken_record_does_not_hold_back_the_page() -> None:
    page = read([order(1, AT), {"id": 2}, None, "text", [3]])
    assert page.records == 5
    assert page.instants == [AT.replace(minute=30, second=0)]


def test_instants_are_quarters_of_an_hour_of_payment_and_creation_once_ascending() -> None:
    paid_later = order(1, AT) | {"date_paid_gmt": "2026-03-02T18:59:59"}
    twice = order(2, AT + timedelta(minutes=3))
    assert read([paid_later, twice]).instants == [
        datetime(2026, 3, 2, 10, 30, tzinfo=UTC),
        datetime(2026, 3, 2, 18, 45, tzinfo=UTC),
    ]
    assert read([refund(9, AT, "1.00") | {"date_paid_gmt": "2026-03-02T18:59:59"}], "refunds").instants == [
        AT.replace(minute=30, second=0)
    ]


def test_local_time_counts_in_the_stores_zone_where_the_utc_field_is_absent() -> None:
    record = {k: v for k, v in order(1, AT, zone="Asia/Kathmandu", paid=False).items() if not k.endswith("_gmt")}
    assert record["date_created"] == "2026-03-02T16:25:07"
    assert read([record], zone="Asia/Kathmandu").instants == [AT.replace(minute=30, second=0)]


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "0001-01-01T00:00:00", "1989-12-31T18:59:59", "2101-01-01T00:00:00", "9999-12-31T23:59:59", 5, None, {}],
)
def test_unusable_dates_give_no_instant(date: Any) -> None:
    record = order(1, AT) | dict.fromkeys(("date_created", "date_created_gmt", "date_paid", "date_paid_gmt"), date)
    assert read([record], zone="America/New_York").instants == []


def test_date_far_in_the_future_gives_no_instant() -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)
    assert len(read([order(1, soon)]).instants) == 1
    assert read([order(1, datetime.now(UTC) + timedelta(days=3))]).instants == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()), st.sampled_from(sorted(STREAMS)))
@settings(max_examples=150, deadline=None)
def test_anything_is_either_a_page_or_refused(content: bytes, stream: tuple[str, str]) -> None:
    try:
        page = read_page(content, STREAMS[stream], "UTC")
    except PageError:
        return  # any other exception would stop an import
    value = json.loads(content.decode("utf-8-sig"))
    assert page.records == (len(value) if isinstance(value, list) else 1)
