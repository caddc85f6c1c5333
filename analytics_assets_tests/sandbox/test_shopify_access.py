"""Shopify's access tokens: those that last, those that are renewed, those that are no good."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from analytics_assets.sandbox.app import running
from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.shopify_access import (
    APP_CLIENT_ID,
    APP_CLIENT_SECRET,
    client,
    narrow_token,
    refresh_token,
)
from analytics_assets_tests.sandbox.shopify_reader import Served, ShopClient, serve
from analytics_assets_tests.sandbox.store_server import BERLIN, KOLKATA, NOW, fresh

served = pytest.fixture(serve)
#: For tests that neither set clock or faults nor spend many points.
shared = pytest.fixture(serve, scope="module")


def test_a_token_that_is_no_good_and_one_that_may_not(shared: Served) -> None:
    for token in ("", "shpat_x", f"shpat_{'0' * 40}", shared.shop(KOLKATA).token):
        answer = shared.shop(BERLIN, token).post("{shop{name}}")
        assert answer.status_code == 401
        assert answer.json() == {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}
    narrow = shared.shop(BERLIN, narrow_token(BERLIN))
    assert narrow.ask("{currentAppInstallation{accessScopes{handle}}}") == {
        "currentAppInstallation": {"accessScopes": [{"handle": "read_customers"}]}
    }
    denied = narrow.post("{mine: orders(first:1){nodes{id}}}").json()
    assert denied["data"] is None
    assert (denied["errors"][0]["extensions"]["code"], denied["errors"][0]["path"]) == ("ACCESS_DENIED", ["mine"])


def test_refresh_tokens_rotate_and_the_last_one_lives_until_its_successor_is_used(served: Served) -> None:
    shop = served.shop(BERLIN)

    def refresh(token: str) -> httpx.Response:
        return shop.grant(
            client_id=APP_CLIENT_ID, client_secret=APP_CLIENT_SECRET, grant_type="refresh_token", refresh_token=token
        )

    first = refresh_token(BERLIN)
    lost, kept = refresh(first).json(), refresh(first).json()
    assert lost["refresh_token"] != kept["refresh_token"] != first
    assert (kept["expires_in"], kept["refresh_token_expires_in"]) == (3600, 90 * 86400)
    assert served.shop(BERLIN, kept["access_token"]).post("{shop{name}}").status_code == 200
    assert served.shop(KOLKATA, kept["access_token"]).post("{shop{name}}").status_code == 401
    third = refresh(kept["refresh_token"])
    assert third.status_code == 200
    for used_up in (first, lost["refresh_token"], "shprt_x"):
        answer = refresh(used_up)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert refresh(kept["refresh_token"]).status_code == 200
    served.sandbox.clock.set(NOW + timedelta(seconds=3599))
    assert served.shop(BERLIN, kept["access_token"]).post("{shop{name}}").status_code == 200
    served.sandbox.clock.set(NOW + timedelta(seconds=3600))
    assert served.shop(BERLIN, kept["access_token"]).post("{shop{name}}").status_code == 401
    assert shop.post("{shop{name}}").status_code == 200
    served.sandbox.clock.set(NOW + timedelta(days=91))
    assert refresh(third.json()["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_restarted_server_goes_on_with_the_tokens_in_the_field(served: Served) -> None:
    form = {"client_id": APP_CLIENT_ID, "client_secret": APP_CLIENT_SECRET, "grant_type": "refresh_token"}
    answer = served.shop(BERLIN).grant(**form, refresh_token=refresh_token(BERLIN)).json()
    with running(fresh()) as base:
        shop = ShopClient(served.http, base, BERLIN, answer["access_token"])
        assert shop.post("{shop{name}}").status_code == 200
        assert shop.grant(**form, refresh_token=answer["refresh_token"]).status_code == 200


def test_client_credentials_and_wrong_ones(served: Served) -> None:
    client_id, secret = client(BERLIN)
    shop = served.shop(BERLIN)
    answer = shop.grant(client_id=client_id, client_secret=secret, grant_type="client_credentials")
    assert (answer.status_code, "refresh_token" in answer.json()) == (200, False)
    assert served.shop(BERLIN, answer.json()["access_token"]).post("{shop{name}}").status_code == 200
    form = served.http.post(
        f"{shop.base}/oauth/access_token",
        data={"client_id": client_id, "client_secret": secret, "grant_type": "client_credentials"},
    )
    assert form.status_code == 200
    wrong = shop.grant(client_id=client_id, client_secret="shpss_x", grant_type="client_credentials")
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert (
        shop.grant(client_id=client_id, client_secret=secret, grant_type="password").json()["error"] == "unsupported_grant_type"
    )


def test_tokens_issued_before_the_fault_have_expired(served: Served) -> None:
    form = {"client_id": APP_CLIENT_ID, "client_secret": APP_CLIENT_SECRET, "grant_type": "refresh_token"}
    old = served.shop(BERLIN).grant(**form, refresh_token=refresh_token(BERLIN)).json()
    served.sandbox.faults.add(Fault("expired", "shopify", BERLIN.slug))
    assert served.shop(BERLIN, old["access_token"]).post("{shop{name}}").status_code == 401
    assert served.shop(BERLIN).post("{shop{name}}").status_code == 401
    new = served.shop(BERLIN).grant(**form, refresh_token=old["refresh_token"]).json()
    assert served.shop(BERLIN, new["access_token"]).post("{shop{name}}").status_code == 200
    served.sandbox.faults.clear()
    assert served.shop(BERLIN).post("{shop{name}}").status_code == 200
    served.sandbox.faults.add(Fault("revoked", "shopify_token", BERLIN.slug))
    assert served.shop(BERLIN).grant(**form, refresh_token=new["refresh_token"]).json()["error"] == "invalid_grant"
