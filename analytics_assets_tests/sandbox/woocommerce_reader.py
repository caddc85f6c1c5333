"""Clients of the sandbox's WooCommerce stores: one over plain HTTP, and the official one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from woocommerce import API  # type: ignore[import-untyped]

from analytics_assets.sandbox.app import running
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.store_state import History, born, days
from analytics_assets.sandbox.woocommerce_access import keys
from analytics_assets.sandbox.world import SandboxOrganization
from analytics_assets_tests.sandbox.store_server import (
    FIRST_DAY,
    NOW,
    STRIPPED,
    fresh,
)

Record = dict[str, Any]


@dataclass
class Served:
    base: str
    sandbox: Sandbox
    http: httpx.Client

    def get(self, one: SandboxOrganization, path: str, **params: Any) -> httpx.Response:
        key, secret = keys(one)
        if one is STRIPPED:
            params |= {"consumer_key": key, "consumer_secret": secret}
        return self.http.get(f"{self.base}/stores/{one.slug}/wp-json/wc/v3/{path}", params=params, auth=(key, secret))

    def every(self, one: SandboxOrganization, path: str, **params: Any) -> list[Record]:
        found: list[Record] = []
        for page in range(1, 1000):
            answer = self.get(one, path, page=page, per_page=100, **params)
            assert answer.status_code == 200, answer.text
            found += answer.json()
            if page >= int(answer.headers["X-WP-TotalPages"]):
                assert len(found) == int(answer.headers["X-WP-Total"])
                return found
        raise AssertionError("no end")


def serve() -> Iterator[Served]:
    """A fixture: a server of its own."""
    sandbox = fresh()
    with running(sandbox) as base, httpx.Client() as http:
        yield Served(base, sandbox, http)


def histories(one: SandboxOrganization) -> list[History]:
    return [history for day in days(FIRST_DAY, NOW.date()) for history in born("woocommerce", one.store, day)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sdk(served: Served, one: SandboxOrganization, secret: str | None = None) -> API:
    key, right = keys(one)
    return API(f"{served.base}/stores/{one.slug}", key, secret or right, version="wc/v3", timeout=20)


def sdk_every(served: Served, one: SandboxOrganization, path: str, **params: Any) -> list[Record]:
    """All pages, by the official client, which signs its queries on plain http."""
    found: list[Record] = []
    client = sdk(served, one)
    while True:
        page = len(found) // 50 + 1
        answer = client.get(path, params={**params, "per_page": 50, "page": page})
        assert answer.status_code == 200, answer.text
        found += answer.json()
        if page >= int(answer.headers["X-WP-TotalPages"]):
            return found
