"""Organisations with stores, for the tests of cohorts."""

from uuid import UUID

import pytest

from analytics_assets_tests.cohorts.world import add_sources
from analytics_assets_tests.woocommerce import Connection, add_organization


@pytest.fixture
def organizations(connection: Connection) -> list[UUID]:
    """Two, with a WooCommerce and a Shopify store each."""
    ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
    for organization in ids:
        add_sources(connection, organization)
    connection.commit()
    return ids
