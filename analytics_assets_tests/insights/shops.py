"""Shops with a month of computed hours: facts and ledger as the hourly aggregates leave them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from analytics_assets.insights.baseline import DAY, Floats
from analytics_assets_tests.woocommerce import Connection, add_organization

DAYS = 34
#: The hour after the last that is over; hour 0 lies DAYS before it.
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
START = NOW - timedelta(days=DAYS)
HOURS = DAYS * DAY


def usual(seed: int, volume: float) -> Floats:
    """Counts with a daily season, HOURS of them."""
    rng = np.random.default_rng(seed)
    hours = np.arange(HOURS)
    mean = volume * (1 + 0.6 * np.cos(2 * np.pi * ((hours + START.hour) % DAY - 15) / DAY))
    return rng.poisson(mean).astype(float)


def at(hour: int) -> datetime:
    """The instant of an hour's number."""
    return START + timedelta(hours=hour)


def add_hours(connection: Connection, organization: UUID, channel: str, series: dict[str, Floats]) -> None:
    """Facts (0 has no row), replacing what stands; every hour is computed."""
    connection.execute("select private.ensure_partitions('hourly_facts', %s, %s)", (START, NOW))
    connection.execute("select private.ensure_partitions('partition_ledger', %s, %s)", (START, NOW))
    names, hours, values = [], [], []
    for metric, found in series.items():
        for hour in np.flatnonzero(found):
            names.append(metric)
            hours.append(at(int(hour)))
            values.append(float(found[hour]))
    connection.execute(
        "delete from hourly_facts f using metrics m, channels c where f.organization_id = %s and m.metric_id = f.metric_id"
        " and c.channel_id = f.channel_id and m.metric = any (%s) and c.channel = %s",
        (organization, list(series), channel),
    )
    connection.execute(
        'insert into hourly_facts (organization_id, metric_id, channel_id, "timestamp", value)'
        " select %s, m.metric_id, c.channel_id, v.at, v.value from unnest(%s::text[], %s::timestamptz[], %s::float8[]) v (metric, at, value)"
        " join metrics m using (metric) join channels c on c.channel = %s",
        (organization, names, hours, values, channel),
    )
    connection.execute(
        "insert into partition_ledger (organization_id, asset, bucket, status, input_version, computed_version, computed_at)"
        " select %s, 'hourly_aggregates', h, 'done', 1, 1, now()"
        " from generate_series(%s::timestamptz, %s::timestamptz - interval '1 hour', interval '1 hour') h on conflict do nothing",
        (organization, START, NOW),
    )
    connection.commit()


def add_shop(connection: Connection, slug: str, seed: int, factor: Floats | None = None, zone: str = "UTC") -> UUID:
    """An organisation with orders and their money, and sessions beside them that ``factor`` leaves alone."""
    organization = add_organization(connection, slug, zone=zone)
    orders = usual(seed, 30.0)
    if factor is not None:
        orders = np.round(orders * factor)
    add_hours(connection, organization, "woocommerce", {"orders": orders, "total_sales": orders * 40.0, "items_sold": orders * 2})
    add_hours(connection, organization, "events", {"sessions": usual(seed + 1, 200.0)})
    return organization


def drop(first: int, last: int, share: float = 0.25) -> Floats:
    """What is left of each hour: ``share`` from hour first to last, both included, all of the others."""
    factor = np.ones(HOURS)
    factor[first : last + 1] = share
    return factor
