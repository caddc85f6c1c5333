"""Whom a WooCommerce store answers, what it refuses, and the faults that it is told to make."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.shop_world import gmt_text, local_text
from analytics_assets.sandbox.store_truth import hourly_truth_woocommerce
from analytics_assets.sandbox.woocommerce_access import keys
from analytics_assets_tests.sandbox.store_server import (
    BERLIN,
    NOW,
    STRIPPED,
    WORLD,
)
from analytics_assets_tests.sandbox.woocommerce_reader import Served, sdk, serve

served = pytest.fixture(serve, scope="module")
#: For tests that set clock or faults.
faulty = pytest.fixture(serve)


# --- Keys --------------------------------------------------------------------------------------------------


def test_keys_are_taken_from_header_query_and_signature(served: Served) -> None:
    key, secret = keys(BERLIN)
    url = f"{served.base}/stores/{BERLIN.slug}/wp-json/wc/v3/orders"
    assert served.http.get(url, auth=(key, secret)).status_code == 200
    assert served.http.get(url, params={"consumer_key": key, "consumer_secret": secret}).status_code == 200
    nobody = served.http.get(url)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "woocommerce_rest_cannot_view")
    for wrong in ((key, "cs_x"), ("ck_x", secret)):
        answer = served.http.get(url, auth=wrong)
        assert (answer.status_code, answer.json()["code"]) == (401, "woocommerce_rest_authentication_error")


def test_a_host_may_strip_the_header(served: Served) -> None:
    key, secret = keys(STRIPPED)
    url = f"{served.base}/stores/{STRIPPED.slug}/wp-json/wc/v3/orders"
    assert served.http.get(url, auth=(key, secret)).json()["code"] == "woocommerce_rest_cannot_view"
    assert served.http.get(url, params={"consumer_key": key, "consumer_secret": secret}).status_code == 200


def test_a_signature_is_verified(served: Served) -> None:
    right = sdk(served, BERLIN).get("orders", params={"after": "2026-10-20T00:00:00", "search": "a b+c%"})
    assert right.status_code == 200
    wrong = sdk(served, BERLIN, "cs_other").get("orders")
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Invalid signature - provided signature does not match.")
    changed = served.http.get(str(right.url).replace("2026-10-20", "2026-10-21"))
    assert changed.status_code == 401


# --- What is wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"per_page": 101}, "per_page"),
        ({"per_page": 0}, "per_page"),
        ({"page": 0}, "page"),
        ({"page": "x"}, "page"),
        ({"orderby": "price"}, "orderby"),
        ({"order": "up"}, "order"),
        ({"modified_after": "yesterday"}, "modified_after"),
        ({"before": "2026-13-01T00:00:00"}, "before"),
        ({"status": "sold"}, "status"),
        ({"include": "a"}, "include"),
    ],
)
def test_a_wrong_parameter_is_named(served: Served, params: dict[str, Any], field: str) -> None:
    answer = served.get(BERLIN, "orders", **params)
    body = answer.json()
    assert (answer.status_code, body["code"], body["message"]) == (400, "rest_invalid_param", f"Invalid parameter(s): {field}")
    assert body["data"]["status"] == 400 and field in body["data"]["params"]


def test_unknown_paths_and_stores(served: Served) -> None:
    assert served.get(BERLIN, "products").json()["code"] == "rest_no_route"
    nowhere = served.http.get(f"{served.base}/stores/nobody/wp-json/wc/v3/orders")
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (404, "text/html; charset=utf-8")


# --- Faults ------------------------------------------------------------------------------------------------


def test_an_edit_between_two_pages_shifts_them(faulty: Served) -> None:
    window = {"modified_after": "2026-10-12T00:00:00", "modified_before": "2026-11-08T14:25:36", "dates_are_gmt": "true"}
    asked = {**window, "orderby": "id", "order": "asc", "per_page": 20}
    first = faulty.get(BERLIN, "orders", **asked)
    before = hourly_truth_woocommerce(WORLD, BERLIN, NOW)
    faulty.sandbox.faults.add(Fault("shifting", "woocommerce", most=1))
    second = faulty.get(BERLIN, "orders", **asked, page=2)
    assert int(second.headers["X-WP-Total"]) == int(first.headers["X-WP-Total"]) - 1
    edited = first.json()[0]
    again = faulty.get(BERLIN, "orders", **asked)
    assert edited["id"] not in [order["id"] for order in again.json()]
    assert again.json()[:-1] == first.json()[1:]
    # What came first on the second page has moved to the first one: who goes on to page 2 does not see it.
    assert again.json()[-1]["id"] < second.json()[0]["id"]
    later = NOW + timedelta(minutes=5)
    faulty.sandbox.clock.set(later)
    found = {
        order["id"]: order for order in faulty.every(BERLIN, "orders", modified_after="2026-11-08T14:25:35", dates_are_gmt=1)
    }
    assert found[edited["id"]] == {
        **edited,
        "date_modified_gmt": gmt_text(int(NOW.timestamp())),
        "date_modified": local_text(BERLIN.store, int(NOW.timestamp())),
    }
    assert hourly_truth_woocommerce(WORLD, BERLIN, NOW) == before


def test_refusals_that_are_ordered(faulty: Served) -> None:
    for kind, status, code in (
        ("throttled", 429, "too_many_requests"),
        ("expired", 401, "woocommerce_rest_authentication_error"),
        ("revoked", 401, "woocommerce_rest_authentication_error"),
        ("forbidden", 403, "woocommerce_rest_cannot_view"),
    ):
        faulty.sandbox.faults.add(Fault(kind, "woocommerce", BERLIN.slug, most=1, seconds=7))
        answer = faulty.get(BERLIN, "orders")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
        assert faulty.get(BERLIN, "orders").status_code == 200
    assert faulty.sandbox.counts["woocommerce:orders"] == 4
