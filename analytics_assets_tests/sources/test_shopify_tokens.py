"""Access tokens of Shopify shops: refreshed, granted, refused, and never used up by two workers at once."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.responses import Response

from analytics_assets.sources import shopify_tokens
from analytics_assets.sources.connector import RawPage
from analytics_assets.sources.failures import (
    Bug,
    Reauthorize,
    RetryLater,
    SourceFailure,
    WrongConfiguration,
)
from analytics_assets.sources.http import Http
from analytics_assets.sources.shopify import Shopify
from analytics_assets_tests.sources.shopify_shop import (
    CLIENT,
    JSON,
    ORDERS,
    REFRESH,
    SHOP,
    TOKEN,
    Row,
    Shop,
    keys,
    order,
    read,
    vendors,
)
from analytics_assets_tests.sources.vendor import Asked, Vendor, gathered, serving, source


@pytest.fixture(scope="module")
def server() -> Iterator[Vendor]:
    with serving() as vendor:
        yield vendor


@pytest.fixture
def vendor(server: Vendor) -> Vendor:
    server.reset()
    return server


def expiring(ends: datetime | None, **more: Any) -> JSON:
    return {
        "access_token": TOKEN,
        "refresh_token": REFRESH,
        **({"expires_at": ends.isoformat()} if ends else {}),
        **CLIENT,
        **more,
    }


def test_a_token_that_is_about_to_end_is_refreshed_and_kept_before_it_is_used(vendor: Vendor) -> None:
    row, shop = Row(expiring(datetime.now(UTC) + timedelta(seconds=30))), Shop([order(1)])
    kept: list[str] = []

    def watched(asked: Asked) -> Response:
        if asked.path.endswith("graphql.json"):
            kept.append(row.secrets["refresh_token"])
        return shop(asked)

    vendor.answer = watched
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert kept == ["shprt_rotated_00000001"]
    assert row.secrets["access_token"] == "shpat_granted_00000001"
    assert timedelta(minutes=59) < datetime.fromisoformat(row.secrets["expires_at"]) - datetime.now(UTC) <= timedelta(hours=1)
    assert datetime.fromisoformat(row.secrets["refresh_expires_at"]) > datetime.now(UTC) + timedelta(days=89)
    assert row.secrets["client_id"] == CLIENT["client_id"]
    form = parse_qs(vendor.asked[0].body.decode())
    assert form["grant_type"] == ["refresh_token"]


@pytest.mark.parametrize("left", [None, timedelta(minutes=50)])
def test_a_token_that_ended_sooner_is_refreshed_once(vendor: Vendor, left: timedelta | None) -> None:
    row = Row(expiring(datetime.now(UTC) + left if left else None))
    vendor.answer = shop = Shop([order(n) for n in range(1, 4)], tokens=set())
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save, size=2)) == ["1", "2", "3"]
    assert (row.changes, shop.granted) == (1, 1)


def test_of_two_workers_one_refreshes(vendor: Vendor) -> None:
    vendor.answer = shop = Shop([order(1)], tokens=set())

    async def main() -> list[list[RawPage]]:
        row = Row(expiring(None))
        one = source("shopify", {"shop": SHOP}, row.secrets, save_secrets=row.save)
        async with Http(patience=0.0) as http:
            workers = [Shopify(one, http, vendors(vendor)) for _ in range(2)]
            found = await asyncio.gather(*(gathered(worker.pages(ORDERS)) for worker in workers))
        assert row.changes == 1
        return list(found)

    assert [keys(pages) for pages in asyncio.run(main())] == [["1"], ["1"]]
    assert shop.granted == 1


def test_a_token_that_another_worker_has_stored_is_used(vendor: Vendor) -> None:
    row = Row(expiring(None, access_token="shpat_of_another_one"))
    vendor.answer = shop = Shop([order(1)], tokens={"shpat_of_another_one"}, refresh=set())
    assert keys(read(vendor, secrets=expiring(None), save_secrets=row.save)) == ["1"]
    assert (row.changes, shop.granted) == (0, 0)


def test_a_refreshed_token_that_is_refused_as_well_ends_it(vendor: Vendor) -> None:
    row, shop = Row(expiring(None)), Shop(tokens=set())

    def deaf(asked: Asked) -> Response:
        response = shop(asked)
        shop.tokens = set()
        return response

    vendor.answer = deaf
    with pytest.raises(Reauthorize):
        read(vendor, secrets=row.secrets, save_secrets=row.save)
    assert (row.changes, shop.granted) == (1, 1)


@pytest.mark.parametrize(
    ("secrets", "kind", "says"),
    [
        ({"access_token": TOKEN}, Reauthorize, "connect the source again"),
        (expiring(None, refresh_token="shprt_used_up"), Reauthorize, "invalid_grant"),
        (expiring(None, client_secret="shpss_of_nobody"), Reauthorize, "invalid_client"),
        (expiring(None, refresh_expires_at="2026-01-01T00:00:00+00:00"), Reauthorize, "ended at 2026-01-01"),
        ({"access_token": TOKEN, "refresh_token": REFRESH}, WrongConfiguration, "ANALYTICS_SHOPIFY_CLIENT_ID"),
        (expiring(None, expires_at="soon"), WrongConfiguration, "expires_at"),
    ],
)
def test_a_token_that_cannot_be_renewed(vendor: Vendor, secrets: JSON, kind: type[SourceFailure], says: str) -> None:
    row = Row(secrets)
    vendor.answer = Shop(tokens=set())
    with pytest.raises(kind, match=says) as info:
        read(vendor, secrets=secrets, save_secrets=row.save)
    assert row.secrets == secrets
    assert not any(value in str(info.value) for name, value in secrets.items() if name.endswith(("token", "secret")))


def test_the_deployment_s_app_is_named_where_its_credentials_are_wrong(vendor: Vendor) -> None:
    row = Row({"access_token": TOKEN, "refresh_token": REFRESH})
    vendor.answer = shop = Shop([order(1)], tokens=set())
    at = vendors(vendor, shopify_client_id="app", shopify_client_secret="shpss_wrong")
    with pytest.raises(WrongConfiguration, match="ANALYTICS_SHOPIFY_CLIENT_ID"):
        read(vendor, secrets=row.secrets, save_secrets=row.save, vendors=at)
    good = vendors(vendor, shopify_client_id=CLIENT["client_id"], shopify_client_secret=CLIENT["client_secret"])
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save, vendors=good)) == ["1"]
    assert shop.granted == 1
    assert "client_secret" not in row.secrets


def test_a_refresh_token_is_not_used_up_where_its_successor_cannot_be_kept(vendor: Vendor) -> None:
    vendor.answer = shop = Shop(tokens=set())
    with pytest.raises(Bug, match="no place to keep"):
        read(vendor, secrets=expiring(None))
    assert shop.granted == 0


def test_client_credentials_are_turned_into_a_token(vendor: Vendor) -> None:
    row = Row(dict(CLIENT))
    vendor.answer = shop = Shop([order(1)], tokens=set())
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert row.secrets["access_token"] == "shpat_granted_00000001"
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert shop.granted == 1, "kept for a day"
    shop.tokens = set()
    assert keys(read(vendor, secrets=row.secrets, save_secrets=row.save)) == ["1"]
    assert shop.granted == 2
    assert keys(read(vendor, secrets=dict(CLIENT))) == ["1"], "where nothing can be kept, as before a source is stored"


def test_a_shop_that_is_slow_to_give_a_token_holds_nobody_up(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's row is locked meanwhile."""
    monkeypatch.setattr(shopify_tokens, "_LONGEST_CALL", 0.1)
    row = Row(expiring(None))
    vendor.answer, vendor.wait = Shop(tokens=set()), lambda asked: 0.5 if "oauth" in asked.path else 0.0
    with pytest.raises(RetryLater, match="no token within"):
        read(vendor, secrets=row.secrets, save_secrets=row.save)
    assert row.changes == 0
