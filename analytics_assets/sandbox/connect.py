"""Puts the sandbox's organisations and their accounts into the database, as an operator would one by one."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import psycopg
from psycopg.types.json import Jsonb

from analytics_assets.sandbox.app import connection_of
from analytics_assets.sandbox.world import SandboxOrganization, World, exchange_rate
from analytics_assets.sources.connectors import connector_of
from analytics_assets.sources.secrets import SecretBox
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sql import query

VENDORS = ("google_analytics", "meta_ads", "woocommerce", "shopify")
_NAMES = {"google_analytics": "Google Analytics", "meta_ads": "Meta Ads", "woocommerce": "WooCommerce", "shopify": "Shopify"}


def organization_id(one: SandboxOrganization) -> UUID:
    """The id of a sandbox organisation: the same in every database."""
    return uuid5(NAMESPACE_URL, f"sandbox:{one.seed}:{one.slug}")


def source_id(one: SandboxOrganization, vendor: str) -> UUID:
    """The id of its source at a vendor."""
    return uuid5(NAMESPACE_URL, f"sandbox:{one.seed}:{one.slug}:{vendor}")


def _account(one: SandboxOrganization, vendor: str) -> tuple[str, str]:
    if vendor == "google_analytics":
        return one.property_zone, one.currency
    if vendor == "meta_ads":
        return one.ad_zone, one.ad_currency
    return one.time_zone, one.currency


def connect_world(
    connection: psycopg.Connection[dict[str, Any]],
    world: World,
    base: str,
    *,
    box: SecretBox | None = None,
    vendors: tuple[str, ...] = VENDORS,
    last_day: date | None = None,
    frequency_minutes: int = 15,
) -> int:
    """Organisations, sources with sealed secrets, and exchange rates of a world whose server stands at ``base``.

    Done again it resumes the sources and points them at the new address. Returns the number of sources.
    """
    box = box or SecretBox.load()
    here = Vendors(store_hosts=(base.removeprefix("http://"),))
    with connection.cursor() as cursor:
        cursor.execute(query("stage_sandbox"))
        with cursor.copy("copy pg_temp.sandbox_sources from stdin") as copy:
            for one in world.organizations:
                for vendor in vendors:
                    given, secrets = connection_of(one, vendor, base)
                    settings = connector_of(vendor).check_settings(given, here)
                    owner, identifier = organization_id(one), source_id(one, vendor)
                    zone, currency = _account(one, vendor)
                    copy.write_row(
                        (
                            owner,
                            one.slug,
                            one.name,
                            one.time_zone,
                            one.currency,
                            identifier,
                            vendor,
                            _NAMES[vendor],
                            Jsonb(settings | {"$secrets": box.seal(owner, identifier, secrets)}),
                            zone,
                            currency,
                            world.first_day,
                            frequency_minutes,
                        )
                    )
        rates = {
            (one.ad_currency, one.currency): exchange_rate(one.ad_currency, one.currency)
            for one in world.organizations
            if one.ad_currency != one.currency
        }
        with cursor.copy("copy pg_temp.sandbox_rates from stdin") as copy:
            for (from_currency, to_currency), rate in rates.items():
                copy.write_row((from_currency, to_currency, rate))
        row = cursor.execute(
            query("connect_sandbox"),
            {"first_day": world.first_day, "last_day": last_day or date.today() + timedelta(days=1)},
            prepare=False,
        ).fetchone()
    connection.commit()
    return int(row["sources"]) if row else 0


def pause_world(connection: psycopg.Connection[dict[str, Any]], world: World) -> None:
    """Takes the sources out of the schedules: their server is about to stop."""
    ids = [source_id(one, vendor) for one in world.organizations for vendor in VENDORS]
    connection.execute(query("pause_sandbox"), {"ids": ids})
    connection.commit()
