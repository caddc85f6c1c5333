"""Bulk operations of Shopify shops: begun once, read in parts, and from known hosts only."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import Response

from analytics_assets.sources import shopify_bulk
from analytics_assets.sources.connector import Task
from analytics_assets.sources.failures import (
    AskForLess,
    Bug,
    PermissionDenied,
    RetryLater,
    Throttled,
    WindowMoved,
    WrongConfiguration,
)
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.shopify_shop import BACKFILL, END, JSON, START, Shop, keys, order, read, vendors
from analytics_assets_tests.sources.vendor import Vendor, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


def bulk_shop(vendor: Vendor, count: int = 7, **more: Any) -> Shop:
    shop = Shop([order(n, 2, 1) if n % 2 else order(n) for n in range(1, count + 1)], url=vendor.url, **more)
    vendor.answer = shop
    return shop


@pytest.mark.parametrize("task", [BACKFILL, Task("orders", START - timedelta(days=6), END)])
def test_a_wide_window_is_read_by_a_bulk_operation(vendor: Vendor, task: Task) -> None:
    shop = bulk_shop(vendor)
    pages = read(vendor, task, size=3)
    assert [page.stream for page in pages] == ["bulk_orders"] * 4
    assert [page.records for page in pages] == [0, 3, 3, 1]
    assert keys(pages) == ["1", "2", "3", "4", "5", "6", "7"]
    assert [page.number for page in pages] == [1, 2, 3, 4]
    assert [page.position is None for page in pages] == [False, False, False, True]
    lines = [record for page in pages for record in json.loads(page.body)]
    assert lines == [json.loads(text) for text in shop.lines().splitlines()]
    assert (
        b"[" + b",".join(shop.lines().splitlines()) + b"]"
        == pages[0].body[:1] + b",".join(page.body[1:-1] for page in pages[1:]) + b"]"
    )
    assert pages[1].instants == (START + timedelta(hours=1), START + timedelta(hours=2))
    assert not any("Signature" in json.dumps(page.position) for page in pages), "an address that is signed is a secret"


def test_a_week_is_no_wide_window(vendor: Vendor) -> None:
    bulk_shop(vendor)
    assert {page.stream for page in read(vendor, Task("orders", END - timedelta(days=7), END))} == {"orders"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_stopped(vendor: Vendor, ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shopify_bulk, "_BYTES_AT_ONCE", 700)
    shop = bulk_shop(vendor, ranges=ranges)
    whole = read(vendor, BACKFILL, size=2)
    assert keys(whole) == ["1", "2", "3", "4", "5", "6", "7"]
    for at, page in enumerate(whole[:-1], 1):
        rest = read(vendor, BACKFILL, json.loads(json.dumps(page.position)), size=2)
        assert [(one.body, one.number, one.position) for one in rest] == [
            (one.body, one.number, one.position) for one in whole[at:]
        ]
    assert shop.operations == 1, "an operation that was begun is not begun again"


def test_a_file_is_read_some_bytes_at_a_time(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = bulk_shop(vendor, 40)
    for size in (1_000, 999, 4096, len(shop.lines()), len(shop.lines()) + 1):
        monkeypatch.setattr(shopify_bulk, "_BYTES_AT_ONCE", size)
        vendor.asked.clear()
        assert keys(read(vendor, BACKFILL)) == [str(n) for n in range(1, 41)]
        files = [asked for asked in vendor.asked if asked.path.endswith(".jsonl")]
        assert len(files) == -(-len(shop.lines()) // size)
        assert {asked.headers["accept-encoding"] for asked in files} == {"identity"}


def test_a_page_in_bulk_has_a_limit_in_bytes_too(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk_shop(vendor)
    monkeypatch.setattr(shopify_bulk, "_BYTES_A_PAGE", 1)
    assert [page.records for page in read(vendor, BACKFILL)] == [0, *[1] * 7]


def test_nothing_in_the_window_is_no_file(vendor: Vendor) -> None:
    bulk_shop(vendor, 0)
    pages = read(vendor, BACKFILL)
    assert [(page.body, page.records, page.position is None) for page in pages] == [(b"[]", 0, False), (b"[]", 0, True)]


def test_who_waits_for_an_operation_tells_that_it_is_there(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shopify_bulk, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(shopify_bulk, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(shopify_bulk, "_SILENCE", 0.0)
    shop = bulk_shop(vendor, polls=4)
    pages = read(vendor, BACKFILL)
    assert [page.records for page in pages] == [0, 0, 0, 0, 0, 7]
    assert [page.number for page in pages] == [1, 2, 3, 4, 5, 6]
    assert shop.operations == 1


@pytest.mark.parametrize(
    ("operation", "kind", "says"),
    [
        ({"status": "FAILED", "errorCode": "ACCESS_DENIED"}, PermissionDenied, "read_orders"),
        ({"status": "FAILED", "errorCode": "TIMEOUT"}, AskForLess, "too long"),
        ({"status": "FAILED", "errorCode": "INTERNAL_SERVER_ERROR"}, WindowMoved, "INTERNAL_SERVER_ERROR"),
        ({"status": "CANCELED"}, WindowMoved, "CANCELED"),
        ({"status": "EXPIRED"}, WindowMoved, "no longer known"),
        ({"status": "COMPLETED", "url": None}, WindowMoved, "no longer there"),
        ({"status": "ASLEEP"}, Bug, "ASLEEP"),
    ],
)
def test_an_operation_that_has_no_result(vendor: Vendor, operation: JSON, kind: type[Exception], says: str) -> None:
    bulk_shop(vendor, operation=operation)
    with pytest.raises(kind, match=says):
        read(vendor, BACKFILL)


def test_a_result_that_is_gone_is_made_again(vendor: Vendor) -> None:
    shop = bulk_shop(vendor)
    first = read(vendor, BACKFILL, size=2, most=2)
    vendor.answer = lambda asked: Response("<Error/>", 404) if asked.path.endswith(".jsonl") else shop(asked)
    with pytest.raises(WindowMoved, match="no longer there"):
        read(vendor, BACKFILL, first[1].position)


def test_a_result_that_breaks_off_is_no_result(vendor: Vendor) -> None:
    shop = bulk_shop(vendor, ranges=False)
    vendor.answer = lambda asked: Response(shop.lines()[:-40]) if asked.path.endswith(".jsonl") else shop(asked)
    with pytest.raises(RetryLater, match="breaks off"):
        read(vendor, BACKFILL)


def test_a_result_that_is_not_grouped_is_broken(vendor: Vendor) -> None:
    """A sale on another page than its order would be lost."""
    shop = bulk_shop(vendor)
    shop.orders = [
        *shop.orders[:2],
        {"id": "gid://shopify/SalesAgreement/100", "__parentId": "gid://shopify/Order/9", "agreements": []},
    ]
    pages = read(vendor, BACKFILL)
    assert "not grouped" in pages[-1].broken


def test_a_line_that_is_no_json_is_broken(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk_shop(vendor)
    monkeypatch.setattr(Shop, "lines", lambda _: b'{"id":"gid://shopify/Order/1"}\n{"id": oops}\n')
    assert "no JSON" in read(vendor, BACKFILL)[-1].broken


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://evil.example.com/1.jsonl", ("storage.googleapis.com",)),
        ("https://storage.googleapis.com.evil.com/1.jsonl", ("storage.googleapis.com",)),
        ("https://storage.googleapis.com:8443/1.jsonl", ("storage.googleapis.com",)),
        ("https://storage.googleapis.com@evil.com/1.jsonl", ("storage.googleapis.com",)),
        ("https://user@storage.googleapis.com/1.jsonl", ("storage.googleapis.com",)),
        ("http://storage.googleapis.com/1.jsonl", ("storage.googleapis.com",)),
        ("http://169.254.169.254/latest", ("storage.googleapis.com",)),
        ("http://10.0.0.1/1.jsonl", ("10.0.0.1",)),
        ("file:///etc/passwd", ("storage.googleapis.com", "")),
    ],
)
def test_a_result_is_read_from_known_hosts_only(vendor: Vendor, url: str, hosts: tuple[str, ...]) -> None:
    bulk_shop(vendor, operation={"status": "COMPLETED", "url": f"{url}?signature=s3cret"})
    with pytest.raises(WrongConfiguration, match="ANALYTICS_SHOPIFY_DOWNLOAD_HOSTS") as info:
        read(vendor, BACKFILL, vendors=vendors(vendor, shopify_download_hosts=hosts))
    assert "s3cret" not in str(info.value)
    assert not any(asked.path.endswith(".jsonl") for asked in vendor.asked)


@pytest.mark.parametrize("host", ["storage.googleapis.com", "storage.googleapis.com:443"])
def test_shopify_s_own_storage_is_known(host: str) -> None:
    shopify_bulk.check_download(f"https://{host}/x/1.jsonl?a=b", Vendors())


def test_a_shop_with_all_its_operations_under_way_is_asked_later(vendor: Vendor) -> None:
    bulk_shop(vendor, refusal={"field": None, "message": "Already in progress.", "code": "OPERATION_IN_PROGRESS"})
    with pytest.raises(Throttled, match="OPERATION_IN_PROGRESS") as info:
        read(vendor, BACKFILL)
    assert info.value.retry_at is not None


def test_where_shopify_runs_no_such_operation_the_orders_are_read_page_by_page(vendor: Vendor) -> None:
    """In April 2026 it refused agreements in bulk for weeks."""
    refusal = {"field": ["query"], "code": "INVALID", "message": "must implement Node. Invalid connections: agreements."}
    bulk_shop(vendor, refusal=refusal)
    pages = read(vendor, BACKFILL, size=3)
    assert {page.stream for page in pages} == {"orders"}
    assert keys(pages) == ["1", "2", "3", "4", "5", "6", "7"]
    assert {page.flags for page in pages} == {("bulk_refused",)}
    rest = read(vendor, BACKFILL, pages[0].position)
    assert keys(rest) == ["4", "5", "6", "7"]
