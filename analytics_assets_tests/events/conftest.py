"""A collector for one test: one organisation, its key, the application on loopback."""

from collections.abc import Iterator

import httpx
import pytest

from analytics_assets_tests.events.serving import Caller, Connection, make_key, serving


@pytest.fixture
def caller(connection: Connection) -> Iterator[Caller]:
    """Calls a running collector with the write key of the organisation acme (Europe/London, GBP)."""
    key = make_key(connection)
    with serving() as base, httpx.Client(timeout=30) as client:
        yield Caller(base, key, client)
