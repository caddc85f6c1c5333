"""Shops with computed days: facts, funnels, cohorts and the ledger as the assets before the rules leave them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from analytics_assets.insights.baseline import Floats
from analytics_assets.insights.rules.finding import find
from analytics_assets.resources import Database
from analytics_assets.sql import query
from analytics_assets_tests.woocommerce import Connection

#: The day after the last whole week that is over in every zone.
END = (datetime.now(UTC) - timedelta(hours=12)).date() - timedelta(days=(datetime.now(UTC) - timedelta(hours=12)).weekday())
DAYS = 161
START = END - timedelta(days=DAYS)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def on(day: int) -> date:
    """The date of a day's number."""
    return START + timedelta(days=day)


def add_days(connection: Connection, organization: UUID, channel: str, series: dict[str, Floats]) -> None:
    """Daily facts (0 has no row), replacing what stands; every day is computed."""
    for parent in ("daily_facts", "partition_ledger"):
        connection.execute("select private.ensure_partitions(%s, %s, %s)", (parent, midnight(START), midnight(END)))
    rows = [(metric, on(int(day)), float(found[day])) for metric, found in series.items() for day in np.flatnonzero(found)]
    connection.execute(
        "delete from daily_facts f using metrics m, channels c where f.organization_id = %s and m.metric_id = f.metric_id"
        " and c.channel_id = f.channel_id and m.metric = any (%s) and c.channel = %s",
        (organization, list(series), channel),
    )
    connection.execute(
        "insert into daily_facts (organization_id, metric_id, channel_id, date, value)"
        " select %s, m.metric_id, c.channel_id, v.at, v.value from unnest(%s::text[], %s::date[], %s::float8[]) v (metric, at, value)"
        " join metrics m using (metric) join channels c on c.channel = %s",
        (organization, *(list(column) for column in zip(*rows, strict=True)), channel),
    )
    connection.execute(
        "insert into partition_ledger (organization_id, asset, bucket, status, input_version, computed_version, computed_at)"
        " select %s, 'daily_aggregates', d, 'done', 1, 1, now()"
        " from generate_series(%s::timestamptz, %s::timestamptz - interval '1 day', interval '1 day') d on conflict do nothing",
        (organization, midnight(START), midnight(END)),
    )
    connection.commit()


def sold(seed: int, slope: float = 0.0, last_weeks: int = 8) -> dict[str, Floats]:
    """Orders, their money and items, growing (or falling) by the week in the last ones. Hardly any noise, and the same money an order."""
    rng = np.random.default_rng(seed)
    weeks = np.maximum(np.arange(DAYS) - (DAYS - 7 * last_weeks), 0) / 7
    orders = rng.poisson(150 * np.exp(slope * weeks)).astype(float)
    return {"orders": orders, "total_sales": orders * 40.0, "items_sold": orders * 2}


def add_funnel(connection: Connection, organization: UUID, rates: Floats, entrants: int = 1000) -> None:
    """A funnel of two steps with final days; rates: of going on, by day."""
    connection.execute(
        "insert into funnels (organization_id, funnel_name, version, unit, window_seconds, steps)"
        """ values (%s, 'shop', 1, 'session', 86400, '[{"name": "cart", "event": "Product Added"}, {"name": "paid", "event": "Order Completed"}]')""",
        (organization,),
    )
    for order, name in ((1, "cart"), (2, "paid")):
        reached = [entrants] * len(rates) if order == 1 else [int(entrants * rate) for rate in rates]
        gone = [int(entrants * rate) for rate in rates]
        connection.execute(
            "insert into funnel_analysis (organization_id, funnel_name, date, step_order, step_name, visitors, conversions, version, is_final)"
            " select %s, 'shop', v.at, %s, %s, v.reached, v.gone, 1, true from unnest(%s::date[], %s::integer[], %s::integer[]) v (at, reached, gone)",
            (organization, order, name, [on(day) for day in range(len(rates))], reached, gone),
        )
    connection.commit()


def add_cohorts(connection: Connection, organization: UUID, rates: Floats, members: int = 500) -> None:
    """Weekly cohorts of first purchases, the last one complete at age 1 on the last day; rates: who bought again a week later."""
    first = END - timedelta(weeks=len(rates) + 1)
    for number, rate in enumerate(rates):
        connection.execute(
            "insert into cohort_analysis (organization_id, cohort_type, period_type, cohort_date, period_number, cohort_size, active_users,"
            " is_complete) values (%s, 'first_purchase', 'week', %s, 1, %s, %s, true)",
            (organization, first + timedelta(weeks=number), members, int(members * rate)),
        )
    connection.commit()


def compute(connection: Connection, ids: list[UUID], first: int, last: int, now: datetime | None = None) -> list[dict[str, Any]]:
    """The days from number first to last, both included, as the asset's run computes them."""
    start, end = midnight(on(first)), midnight(on(last + 1))
    found = find(Database(), ids, start, end, now or midnight(END) + timedelta(hours=13))
    rows = connection.execute(
        query("store_rule_insights"), {"ids": ids, "start": start, "end": end, "run_id": None, **found}
    ).fetchall()
    connection.commit()
    return rows


def said(connection: Connection, organization: UUID) -> list[dict[str, Any]]:
    """Insights that hold, without when they were written."""
    rows = connection.execute(
        "select * from ai_insights where organization_id = %s and withdrawn_at is null order by starts_at, insight_key",
        (organization,),
    ).fetchall()
    connection.rollback()
    return [{name: value for name, value in row.items() if name not in ("created_at", "updated_at")} for row in rows]
