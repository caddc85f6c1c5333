"""What a Shopify shop says of itself, its points, and every way in which it says no."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from starlette.responses import Response

from analytics_assets.sources.connector import Task
from analytics_assets.sources.failures import (
    Bug,
    PermissionDenied,
    Reauthorize,
    RetryLater,
    SourceFailure,
    Throttled,
    WrongConfiguration,
)
from analytics_assets.sources.shopify import Shopify
from analytics_assets.sources.vendors import Vendors
from analytics_assets_tests.sources.shopify_shop import END, JSON, SHOP, START, TOKEN, Shop, errors, keys, order, read, work
from analytics_assets_tests.sources.vendor import Asked, Vendor, reply, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


# --- Ways of saying no -----------------------------------------------------------------------------------------------

REFUSALS: list[tuple[Response, type[SourceFailure], str]] = [
    (errors("ACCESS_DENIED", "Access denied for orders field."), PermissionDenied, "read_all_orders"),
    (errors("SHOP_INACTIVE"), PermissionDenied, "paused"),
    (errors("INTERNAL_SERVER_ERROR"), RetryLater, "INTERNAL_SERVER_ERROR"),
    (errors("undefinedField", "Field 'x' doesn't exist"), Bug, "undefinedField: Field 'x'"),
    (errors("ACCESS_DENIED", data={"orders": {"nodes": [], "pageInfo": {"hasNextPage": False}}}), PermissionDenied, "may not"),
    (errors("odd", data={"orders": {"nodes": [], "pageInfo": {"hasNextPage": False}}}), Bug, "odd"),
    (reply({"data": None}), Bug, "neither data nor errors"),
    (reply([]), Bug, "neither data nor errors"),
    (reply({"errors": "[API] Invalid API key"}, 401), Reauthorize, "connect the source again"),
    (reply({"errors": "Unavailable Shop"}, 402), PermissionDenied, "paused"),
    (reply({"errors": "Locked"}, 423), PermissionDenied, "paused"),
    (reply({"errors": "Forbidden"}, 403), PermissionDenied, "installed"),
    (reply({"errors": "Not Found"}, 404), WrongConfiguration, "no shop acme"),
    (Response("", 429, {"retry-after": "60"}), Throttled, "no more requests"),
    (Response("<h1>Bad gateway</h1>", 502), RetryLater, "HTTP 502"),
    (Response("<!doctype html><html></html>", 200, media_type="text/html"), RetryLater, "HTML page"),
    (Response('{"data": {"orders": ', 200, media_type="application/json"), RetryLater, "breaks off"),
    (Response("", 301, {"location": "https://other.example.com/x?y=1"}), WrongConfiguration, "other.example.com"),
]


@pytest.mark.parametrize(("response", "kind", "says"), REFUSALS)
def test_every_refusal_is_a_failure_of_its_kind(vendor: Vendor, response: Response, kind: type[SourceFailure], says: str) -> None:
    vendor.answer = lambda _: response
    with pytest.raises(kind, match=says) as info:
        read(vendor)
    assert SHOP in str(info.value)
    assert TOKEN not in str(info.value)
    assert "y=1" not in str(info.value)


def test_a_shop_without_points_is_asked_again_when_they_are_back(vendor: Vendor) -> None:
    cost = {"requestedQueryCost": 857, "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 357, "restoreRate": 50}}
    vendor.answer = lambda _: errors("THROTTLED", cost=cost)
    with pytest.raises(Throttled) as info:
        read(vendor)
    assert info.value.retry_at is not None
    assert timedelta(seconds=9) < info.value.retry_at - datetime.now(UTC) <= timedelta(seconds=10)


def test_a_short_wait_for_points_is_waited_in_place(vendor: Vendor) -> None:
    shop = Shop([order(1)])
    cost = {"requestedQueryCost": 100, "throttleStatus": {"currentlyAvailable": 95, "restoreRate": 100}}
    vendor.answer = lambda asked: errors("THROTTLED", cost=cost) if len(vendor.asked) == 1 else shop(asked)
    assert keys(read(vendor, patience=2.0)) == ["1"]


def test_a_page_waits_until_it_can_be_paid_for(vendor: Vendor) -> None:
    shop = Shop([order(n) for n in range(1, 4)])
    times: list[datetime] = []

    def poor(asked: Asked) -> Response:
        times.append(datetime.now(UTC))
        body = json.loads(bytes(shop(asked).body))
        body["extensions"]["cost"]["throttleStatus"] = {"currentlyAvailable": 80, "restoreRate": 100}
        return reply(body)

    vendor.answer = poor
    assert keys(read(vendor, size=2)) == ["1", "2", "3"]
    assert times[1] - times[0] > timedelta(seconds=0.18)


# --- The account and its settings ------------------------------------------------------------------------------------


def test_the_account(vendor: Vendor) -> None:
    vendor.answer = shop = Shop()
    account = work(vendor, lambda one: one.account())
    assert (account.time_zone, account.currency, account.name, account.notes) == ("Asia/Kolkata", "INR", "Acme", ())
    shop.scopes = ("read_orders",)
    assert "only the last 60 days can be read" in work(vendor, lambda one: one.account()).notes[0]
    shop.scopes = ("read_products",)
    with pytest.raises(PermissionDenied, match="read_orders"):
        work(vendor, lambda one: one.account())


@pytest.mark.parametrize("given", ["acme", "acme.myshopify.com", " ACME.myshopify.com "])
def test_a_shop_has_one_name(given: str) -> None:
    assert Shopify.check_settings({"shop": given}, Vendors()) == {"shop": SHOP}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "shop: missing"),
        ({"shop": "acme.example.com"}, "no shop's name"),
        ({"shop": "evil.com/acme.myshopify.com"}, "no shop's name"),
        ({"shop": "acme.myshopify.com.evil.com"}, "no shop's name"),
        ({"shop": "-acme"}, "no shop's name"),
        ({"shop": "acme\n.myshopify.com"}, "no shop's name"),
        ({"shop": "acme", "version": "2026-10"}, "version"),
    ],
)
def test_settings_that_are_wrong(settings: JSON, says: str) -> None:
    with pytest.raises(WrongConfiguration, match=says):
        Shopify.check_settings(settings, Vendors())


def test_an_unknown_stream_is_ours_to_mend(vendor: Vendor) -> None:
    with pytest.raises(Bug, match="no stream products"):
        read(vendor, Task("products", START, END))
