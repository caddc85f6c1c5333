"""What a WooCommerce store says of itself, and every way in which it says no."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import Response

from analytics_assets.sources import failures
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
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.woocommerce import WooCommerce
from analytics_assets_tests.sources.vendor import Vendor, gathered, reply, serving
from analytics_assets_tests.sources.woo_store import (
    API,
    END,
    KEY,
    ORDERS,
    SECRET,
    START,
    Store,
    connected,
    ids,
    order,
    problem,
    read,
    some_orders,
    work,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


# --- The account -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "offset", "zone"),
    [
        ("Europe/Berlin", 2, "Europe/Berlin"),
        ("", 0, "UTC"),
        ("", 2, "Etc/GMT-2"),
        ("", "-5", "Etc/GMT+5"),
        ("", 14.0, "Etc/GMT-14"),
        ("", "5.5", "Asia/Kolkata"),
        ("", 5.75, "Asia/Kathmandu"),
        ("", 4.5, "Asia/Kabul"),
        ("", 3.5, "Asia/Tehran"),
        ("", 6.5, "Asia/Yangon"),
        ("", 9.5, "Australia/Darwin"),
        ("", 8.75, "Australia/Eucla"),
        (None, -9.5, "Pacific/Marquesas"),
    ],
)
def test_the_account_s_zone(vendor: Vendor, name: Any, offset: Any, zone: str) -> None:
    vendor.answer = Store(some_orders(3), index={"name": "The Shop", "timezone_string": name, "gmt_offset": offset})
    account = work(vendor, lambda one: one.account())
    assert (account.time_zone, account.currency, account.name) == (zone, "EUR", "The Shop")
    assert [asked.params.get("per_page") for asked in vendor.asked if asked.path == f"{API}/orders"] == ["1"]


@pytest.mark.parametrize(("name", "offset"), [("", -3.5), ("", 13.75), ("", 15), ("", None), ("Mars/Olympus", 0)])
def test_a_zone_that_is_none_has_to_be_chosen(vendor: Vendor, name: Any, offset: Any) -> None:
    vendor.answer = Store(index={"timezone_string": name, "gmt_offset": offset})
    with pytest.raises(WrongConfiguration, match="choose a city as time zone"):
        work(vendor, lambda one: one.account())


def test_a_store_that_gives_no_orders_has_no_account(vendor: Vendor) -> None:
    store = Store()
    vendor.answer = lambda asked: problem(403, "woocommerce_rest_cannot_view") if "orders" in asked.path else store(asked)
    with pytest.raises(PermissionDenied, match="permission Read"):
        work(vendor, lambda one: one.account())


# --- Ways of saying no -----------------------------------------------------------------------------------------------

REFUSALS: list[tuple[Response, type[SourceFailure], str]] = [
    (problem(401, "woocommerce_rest_authentication_error", "Consumer key is invalid."), Reauthorize, "Consumer key is invalid"),
    (
        problem(401, "woocommerce_rest_authentication_error", "The API key does not have read permissions."),
        PermissionDenied,
        "Read",
    ),
    (problem(401, "woocommerce_rest_cannot_view"), PermissionDenied, "--set query_auth=true.*access logs"),
    (problem(403, "woocommerce_rest_cannot_view"), PermissionDenied, "for a user who may see orders"),
    (Response("denied", 401), Reauthorize, "--set query_auth=true"),
    (Response("<h1>Forbidden</h1>", 403), PermissionDenied, "firewall"),
    (Response("<h1>Not Found</h1>", 404), WrongConfiguration, "no WordPress REST API.*Permalinks"),
    (problem(404, "rest_no_route"), WrongConfiguration, "WooCommerce is active"),
    (problem(400, "rest_invalid_param", "Invalid parameter(s): orderby"), Bug, "rest_invalid_param"),
    (Response("slow down", 429), Throttled, "no more requests"),
    (Response("", 520), RetryLater, "HTTP 520"),
    (Response("<!doctype html><title>Just a moment</title>", 200, media_type="text/html"), RetryLater, "a page instead of data"),
    (Response("<html>maintenance</html>", 200, media_type="application/json"), RetryLater, "firewall or maintenance page"),
    (Response('[{"id": 1, "order_k', 200, media_type="application/json"), RetryLater, "breaks off"),
    (Response("", 200, media_type="application/json"), RetryLater, "empty"),
    (problem(200, "internal_error", "Oops."), RetryLater, "an error as if it were data .internal_error"),
]


@pytest.mark.parametrize(("response", "kind", "says"), REFUSALS)
def test_every_refusal_is_a_failure_of_its_kind(vendor: Vendor, response: Response, kind: type[SourceFailure], says: str) -> None:
    vendor.answer = lambda _: response
    with pytest.raises(kind, match=says) as info:
        read(vendor, size=10)
    message = str(info.value)
    assert vendor.host in message
    assert KEY not in message
    assert SECRET not in message
    assert isinstance(info.value, failures.SourceFailure)


def test_a_store_that_is_busy_is_asked_again_when_it_says(vendor: Vendor) -> None:
    vendor.answer = lambda _: Response("", 429, {"retry-after": "120"})
    with pytest.raises(Throttled) as info:
        read(vendor)
    assert info.value.retry_at is not None
    assert info.value.retry_at > datetime.now(UTC) + timedelta(seconds=110)
    assert len(vendor.asked) == 1


def test_a_key_that_a_store_sends_back_is_not_told(vendor: Vendor) -> None:
    vendor.answer = lambda _: problem(400, "rest_odd", f"The key {KEY} and {SECRET} are odd")
    with pytest.raises(Bug) as info:
        read(vendor)
    assert "[secret]" in str(info.value)
    assert KEY not in str(info.value)
    assert SECRET not in str(info.value)


def test_a_page_that_postgresql_cannot_keep_is_broken(vendor: Vendor) -> None:
    vendor.answer = Store([order(1, START, note="\0")])
    (page,) = read(vendor)
    assert "NUL" in page.broken
    assert page.keys == ()


def test_a_page_of_something_else_is_broken(vendor: Vendor) -> None:
    vendor.answer = lambda _: reply([{"id": 1, "name": "a product"}], x_wp_total="1")
    assert "no page of woocommerce orders" in read(vendor)[0].broken
    vendor.answer = lambda _: reply(["1"], x_wp_total="1")
    assert "no list of orders" in read(vendor, Task("order_ids", START, END, "reread"))[0].broken


def test_a_redirect_is_not_followed_and_its_target_named(vendor: Vendor) -> None:
    vendor.answer = lambda _: Response("", 301, {"location": "https://www.example.com/wp-json/wc/v3/orders?consumer_key=x"})
    with pytest.raises(WrongConfiguration, match=r"https://www\.example\.com") as info:
        read(vendor)
    assert "consumer_key=x" not in str(info.value)
    assert len(vendor.asked) == 1


def test_a_store_in_a_private_network_is_not_called(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(1))
    with pytest.raises(WrongConfiguration, match="public internet"):
        vendor.with_connector(WooCommerce, connected(vendor), Vendors(), lambda one: gathered(one.pages(ORDERS)))
    assert vendor.asked == []


# --- A host that drops the Authorization header ----------------------------------------------------------------------


def test_the_key_goes_into_the_address_only_where_the_tenant_agrees(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(3), sees_header=False)
    with pytest.raises(PermissionDenied, match="query_auth"):
        read(vendor, size=2)
    assert not any(KEY in asked.target for asked in vendor.asked)
    vendor.asked.clear()
    pages = read(vendor, size=2, settings={"query_auth": True})
    assert ids(pages) == [1, 2, 3]
    assert [KEY in asked.target for asked in vendor.asked] == [False, True, True]
    assert "authorization" not in vendor.asked[-1].headers
    assert not any(KEY in json.dumps(page.position) for page in pages)


def test_a_header_that_comes_through_is_preferred(vendor: Vendor) -> None:
    vendor.answer = Store(some_orders(1))
    read(vendor, settings={"query_auth": True})
    assert not any(KEY in asked.target for asked in vendor.asked)


def test_a_key_that_is_no_good_in_the_address_either_is_said_to_be_so(vendor: Vendor) -> None:
    vendor.answer = lambda _: problem(401, "woocommerce_rest_cannot_view")
    with pytest.raises(PermissionDenied) as info:
        read(vendor, settings={"query_auth": True})
    assert "query_auth" not in str(info.value)
    vendor.answer = lambda _: problem(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")
    vendor.asked.clear()
    with pytest.raises(Reauthorize):
        read(vendor, settings={"query_auth": True})
    assert len(vendor.asked) == 1, "a key that was seen and refused is not shown to the access logs"


# --- Settings --------------------------------------------------------------------------------------------------------


def test_settings_have_a_normal_form() -> None:
    check = WooCommerce.check_settings
    assert check({"store_url": " https://Shop.Example.com/store/ "}, Vendors()) == {"store_url": "https://shop.example.com/store"}
    assert check({"store_url": "https://shop.example.com", "query_auth": "true"}, Vendors()) == {
        "store_url": "https://shop.example.com",
        "query_auth": True,
    }
    assert "query_auth" not in check({"store_url": "https://shop.example.com", "query_auth": "false"}, Vendors())
    local = Vendors(store_hosts=("127.0.0.1:8080",))
    assert check({"store_url": "http://127.0.0.1:8080/stores/a"}, local) == {"store_url": "http://127.0.0.1:8080/stores/a"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "store_url: missing"),
        ({"store_url": "http://shop.example.com"}, "https"),
        ({"store_url": "https://ck:cs@shop.example.com"}, "user or password"),
        ({"store_url": "https://shop.example.com", "query_auth": "perhaps"}, "query_auth: 'perhaps'"),
        ({"store_url": "https://shop.example.com", "query_atuh": True}, "query_atuh"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongConfiguration, match=says):
        WooCommerce.check_settings(settings, Vendors())


def test_an_unknown_stream_is_ours_to_mend(vendor: Vendor) -> None:
    with pytest.raises(Bug, match="no stream products"):
        read(vendor, Task("products", START, END))
