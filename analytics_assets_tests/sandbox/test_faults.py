"""Faults of the sandbox server, each alone, and what steers the server from outside."""

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from analytics_assets.sandbox import google_access, shopify_access, traffic, woocommerce_access
from analytics_assets.sandbox.app import connection_of, running, vendor_environment
from analytics_assets.sandbox.fault_middleware import whose
from analytics_assets.sandbox.faults import KINDS, Fault, Faults
from analytics_assets.sandbox.serve_meta import access_token
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, SandboxOrganization, make_world
from analytics_assets.sources.vendors import Vendors

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
WORLD = make_world(3, date(2026, 11, 10))
ONE, OTHER = WORLD.organizations[:2]
VENDORS = ("google_analytics", "meta_ads", "woocommerce", "shopify")
every_vendor = pytest.mark.parametrize("vendor", VENDORS)
# Kept: making a client takes longer than most calls.
HTTP = httpx.Client(verify=False)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox(world=WORLD, clock=Clock(NOW))
    with running(sandbox) as base:
        yield sandbox, base


@pytest.fixture
def sandbox(served: tuple[Sandbox, str]) -> Iterator[Sandbox]:
    sandbox, _ = served
    sandbox.clock.set(NOW)
    sandbox.counts.clear()
    yield sandbox
    sandbox.faults.clear()


@pytest.fixture
def base(served: tuple[Sandbox, str], sandbox: Sandbox) -> str:
    return served[1]


def ask(base: str, vendor: str, one: SandboxOrganization = ONE, **options: Any) -> httpx.Response:
    """A small call for data."""
    if vendor == "google_analytics":
        body = {"dateRanges": [{"startDate": "7daysAgo", "endDate": "today"}], "metrics": [{"name": "sessions"}]}
        headers = {"Authorization": f"Bearer {google_access.static_token(one)}"} | options.pop("headers", {})
        return HTTP.post(f"{base}/v1beta/properties/{one.property_id}:runReport", json=body, headers=headers, **options)
    if vendor == "meta_ads":
        headers = {"Authorization": f"Bearer {access_token(one)}"}
        return HTTP.get(f"{base}/v26.0/act_{one.ad_account}/insights", headers=headers, **options)
    if vendor == "woocommerce":
        return HTTP.get(f"{base}/stores/{one.slug}/wp-json/wc/v3/orders", auth=woocommerce_access.keys(one), **options)
    headers = {"X-Shopify-Access-Token": shopify_access.access_token(one)}
    url = f"{base}/shopify/{one.shop_domain}/admin/api/2026-10/graphql.json"
    return HTTP.post(url, json={"query": "{ shop { name currencyCode } }"}, headers=headers, **options)


def set_fault(base: str, kind: str, **fields: Any) -> None:
    HTTP.post(f"{base}/_sandbox/faults", json={"kind": kind} | fields).raise_for_status()


# --- Alike for every vendor --------------------------------------------------------------------------------


@every_vendor
@pytest.mark.parametrize("kind", ["429", "500", "503"])
def test_errors(sandbox: Sandbox, base: str, vendor: str, kind: str) -> None:
    assert ask(base, vendor).status_code == 200
    set_fault(base, kind, vendor=vendor, account=ONE.slug, most=1, seconds=7)
    hit = ask(base, vendor)
    assert hit.status_code == int(kind)
    assert hit.headers.get("retry-after") == ("7" if kind == "429" else None)
    assert ask(base, vendor).status_code == 200
    assert sandbox.counts[f"{vendor}:fault:{kind}"] == 1 and sandbox.counts[f"{vendor}:requests"] == 3


@every_vendor
def test_html_where_json_belongs(base: str, vendor: str) -> None:
    set_fault(base, "html", vendor=vendor)
    hit = ask(base, vendor)
    assert hit.status_code == 200 and hit.headers["content-type"].startswith("text/html") and hit.text.startswith("<!DOCTYPE")


@every_vendor
def test_json_that_breaks_off(base: str, vendor: str) -> None:
    whole = ask(base, vendor).text
    set_fault(base, "truncated", vendor=vendor)
    hit = ask(base, vendor)
    assert hit.status_code == 200 and hit.headers["content-type"].startswith("application/json")
    assert int(hit.headers["content-length"]) == len(hit.content) and whole[:20] == hit.text[:20]
    with pytest.raises(json.JSONDecodeError):
        hit.json()


@every_vendor
def test_no_answer(base: str, vendor: str) -> None:
    set_fault(base, "disconnect", vendor=vendor, most=1)
    with pytest.raises(httpx.TransportError):
        ask(base, vendor)
    assert ask(base, vendor).status_code == 200


def test_silence(base: str) -> None:
    set_fault(base, "timeout", most=1, seconds=60)
    started = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        ask(base, "meta_ads", timeout=0.2)
    # Not the sixty seconds of the fault; how much less is the machine's affair.
    assert time.monotonic() - started < 50
    set_fault(base, "timeout", most=1, seconds=0.1)
    with pytest.raises(httpx.TransportError):
        ask(base, "meta_ads")
    assert ask(base, "meta_ads").status_code == 200


def test_a_slow_answer(base: str) -> None:
    set_fault(base, "slow", most=1, seconds=0.3)
    started = time.monotonic()
    assert ask(base, "google_analytics").status_code == 200
    assert time.monotonic() - started >= 0.3


def test_a_server_with_a_silent_connection_stops_at_once() -> None:
    sandbox = Sandbox(world=WORLD, clock=Clock(NOW))
    with running(sandbox) as base:
        set_fault(base, "timeout", seconds=600)
        waiting = socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])))
        waiting.sendall(f"GET /v26.0/act_{ONE.ad_account} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not sandbox.counts["meta_ads:fault:timeout"]:
            time.sleep(0.01)
        started = time.monotonic()
    assert time.monotonic() - started < 1.5
    with waiting:
        assert waiting.recv(100) == b""
    with pytest.raises(httpx.ConnectError):
        HTTP.get(f"{base}/_sandbox/counts")


def test_a_port_that_is_taken(served: tuple[Sandbox, str]) -> None:
    with pytest.raises(OSError, match="in use"), running(Sandbox(world=WORLD), int(served[1].rpartition(":")[2])):
        pass


# --- In the vendor's own form ------------------------------------------------------------------------------


def test_throttling(base: str) -> None:
    set_fault(base, "throttled", seconds=90)
    google = ask(base, "google_analytics")
    assert (google.status_code, google.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert "retry-after" not in google.headers
    meta = ask(base, "meta_ads")
    assert (meta.status_code, meta.json()["error"]["code"]) == (400, 80000)
    usage = json.loads(meta.headers["x-business-use-case-usage"])[ONE.ad_account][0]
    assert (usage["call_count"], usage["estimated_time_to_regain_access"]) == (100, 2)
    assert ask(base, "woocommerce").status_code == 429
    shopify = ask(base, "shopify")
    assert (shopify.status_code, shopify.json()["errors"][0]["extensions"]["code"]) == (200, "THROTTLED")


@pytest.mark.parametrize(
    ("kind", "google", "meta", "woocommerce"),
    [("expired", 401, (190, 463), 401), ("revoked", 401, (190, 458), 401), ("forbidden", 403, (10, None), 403)],
)
def test_credentials(base: str, kind: str, google: int, meta: tuple[int, int | None], woocommerce: int) -> None:
    set_fault(base, kind, account=ONE.slug)
    assert ask(base, "google_analytics").status_code == google
    error = ask(base, "meta_ads").json()["error"]
    assert (error["code"], error.get("error_subcode")) == meta
    assert ask(base, "woocommerce").status_code == woocommerce
    assert [ask(base, vendor, OTHER).status_code for vendor in VENDORS] == [200] * 4


def test_only_tokens_issued_before_expire(base: str) -> None:
    def token() -> str:
        form = {
            "grant_type": "refresh_token", "refresh_token": google_access.refresh_token(ONE),
            "client_id": google_access.CLIENT_ID, "client_secret": google_access.CLIENT_SECRET,
        }  # fmt: skip
        return str(HTTP.post(f"{base}/google/token", data=form).json()["access_token"])

    def status(text: str) -> int:
        return ask(base, "google_analytics", headers={"Authorization": f"Bearer {text}"}).status_code

    before = token()
    assert status(before) == 200
    set_fault(base, "expired", vendor="google_analytics")
    after = token()
    assert status(before) == 401 and status(after) == 200 and status(before) == 401


def test_a_revoked_grant_makes_no_more_tokens(base: str) -> None:
    set_fault(base, "revoked", vendor="google_token")
    form = {
        "grant_type": "refresh_token",
        "refresh_token": google_access.refresh_token(ONE),
        "client_id": "a",
        "client_secret": "b",
    }
    answer = HTTP.post(f"{base}/google/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_meta_asks_for_less(base: str) -> None:
    set_fault(base, "reduce", vendor="meta_ads", most=1)
    error = ask(base, "meta_ads").json()["error"]
    assert (error["code"], error["error_subcode"]) == (100, 1487534)
    assert ask(base, "meta_ads").status_code == 200


# --- Whom and how often ------------------------------------------------------------------------------------


def test_a_fault_hits_the_account_and_vendor_that_it_names(base: str) -> None:
    set_fault(base, "500", vendor="google_analytics", account=ONE.slug)
    assert ask(base, "google_analytics").status_code == 500
    assert ask(base, "google_analytics", OTHER).status_code == 200
    assert ask(base, "meta_ads").status_code == 200
    assert HTTP.post(f"{base}/google/token").status_code == 400
    HTTP.delete(f"{base}/_sandbox/faults").raise_for_status()
    assert ask(base, "google_analytics").status_code == 200


def test_shares_are_the_same_in_every_run_whatever_others_ask() -> None:
    def run(noise: bool) -> list[bool]:
        faults, hits = Faults(seed=3), []
        faults.add(Fault("500", share=0.3))
        for _ in range(500):
            hits.append(faults.strike("meta_ads", "a", ("500",)) is not None)
            if noise:
                faults.strike("meta_ads", "b", ("500",))
        return hits

    assert run(False) == run(True) and 110 < sum(run(False)) < 190


def test_how_often_in_all() -> None:
    faults = Faults()
    faults.add(Fault("500", most=3))
    faults.add(Fault("503", most=2))
    hits = [fault.kind for _ in range(10) if (fault := faults.strike("shopify", None, ("500", "503")))]
    assert hits == ["500"] * 3 + ["503"] * 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kind": "flood"}, "kind: 'flood'"),
        ({}, "kind: ''"),
        ({"kind": "500", "vendor": "amazon"}, "vendor: 'amazon'"),
        ({"kind": "500", "share": "half"}, "share: 'half'"),
        ({"kind": "500", "most": -1}, "most: -1"),
        ({"kind": "500", "account": 7}, "account: 7"),
        ({"kind": "500", "when": "now"}, "no field when"),
        ([["500"]], "is a JSON object"),
        (None, "is a JSON object"),
    ],
)
def test_unknown_faults_are_refused(sandbox: Sandbox, base: str, body: Any, words: str) -> None:
    answer = HTTP.post(f"{base}/_sandbox/faults", content=json.dumps(body))
    assert answer.status_code == 400 and words in answer.json()["error"]
    assert sandbox.faults.active == []


def test_every_kind_can_be_set(sandbox: Sandbox, base: str) -> None:
    HTTP.post(f"{base}/_sandbox/faults", json=[{"kind": kind, "most": 0} for kind in KINDS]).raise_for_status()
    assert [fault.kind for fault in sandbox.faults.active] == list(KINDS)
    assert [ask(base, vendor).status_code for vendor in VENDORS] == [200] * 4


def test_whose_an_address_is() -> None:
    assert whose(WORLD, f"/v26.0/6{ONE.ad_account}0000012/insights") == ("meta_ads", ONE.slug)
    assert whose(WORLD, f"/shopify/{ONE.shop_domain}/admin/oauth/access_token") == ("shopify_token", ONE.slug)
    assert whose(WORLD, "/stores/nobody/wp-json/") == ("woocommerce", None)
    assert whose(WORLD, "/_sandbox/faults") is None


# --- Steering ----------------------------------------------------------------------------------------------


def test_the_clock_is_set_from_outside(sandbox: Sandbox, base: str) -> None:
    answer = HTTP.put(f"{base}/_sandbox/clock", json={"now": "2026-11-15T12:30:00+01:00"})
    assert answer.json() == {"now": "2026-11-15T11:30:00+00:00"} and sandbox.clock.now().day == 15
    assert HTTP.get(f"{base}/_sandbox/clock").json() == answer.json()
    HTTP.put(f"{base}/_sandbox/clock", json={"now": None}).raise_for_status()
    assert abs((sandbox.clock.now() - datetime.now(UTC)).total_seconds()) < 5
    assert HTTP.put(f"{base}/_sandbox/clock", json={"now": "noon"}).status_code == 400
    assert HTTP.put(f"{base}/_sandbox/clock", json=[]).status_code == 400


def test_counts_organizations_and_truth(base: str) -> None:
    for vendor in VENDORS:
        ask(base, vendor)
    counts = HTTP.get(f"{base}/_sandbox/counts").json()
    assert counts["google_analytics:runReport"] == counts["meta_ads:insights"] == counts["woocommerce:requests"] == 1
    listed = HTTP.get(f"{base}/_sandbox/organizations").json()
    assert [one["slug"] for one in listed] == ["sandbox-0001", "sandbox-0002", "sandbox-0003"]
    assert listed[0]["store_url"] == f"{base}/stores/sandbox-0001"
    for vendor in VENDORS:
        truth = HTTP.get(f"{base}/_sandbox/truth/{vendor}/{ONE.slug}").json()
        assert truth["hourly"] and truth["daily"]
        if vendor == "google_analytics":
            assert len(truth["hourly"]) == len(traffic.hourly_truth(WORLD, ONE, NOW))
    assert HTTP.get(f"{base}/_sandbox/truth/google_analytics/nobody").status_code == 404
    assert HTTP.delete(f"{base}/_sandbox/counts").json() == {}


def test_a_client_is_pointed_at_the_server(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in vendor_environment(base).items():
        monkeypatch.setenv(name, value)
    vendors = Vendors.load()
    assert (vendors.google_url, vendors.meta_url, vendors.google_token_url) == (base, base, f"{base}/google/token")
    assert vendors.shopify_url.format(shop="x") == f"{base}/shopify/x"
    assert vendors.store_hosts == vendors.shopify_download_hosts == (base.removeprefix("http://"),)
    settings, secrets = connection_of(ONE, "google_analytics", base)
    assert settings == {"property_id": ONE.property_id}
    assert json.loads(secrets["service_account"])["client_email"] == "sandbox-0001@sandbox.example"
    assert connection_of(ONE, "meta_ads", base) == ({"account_id": f"act_{ONE.ad_account}"}, {"access_token": access_token(ONE)})
    settings, secrets = connection_of(ONE, "woocommerce", base)
    assert settings["store_url"] == f"{base}/stores/{ONE.slug}" and set(secrets) == {"consumer_key", "consumer_secret"}
    assert connection_of(ONE, "shopify", base)[0] == {"shop": ONE.shop_domain}
    with pytest.raises(ValueError, match="amazon"):
        connection_of(ONE, "amazon", base)
