"""Hours and days of an organisation as the pipeline leaves them, rules, and what evaluating them comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from analytics_assets.alerts import registry
from analytics_assets.alerts.rules import make_rule
from analytics_assets.sql import query
from analytics_assets_tests.woocommerce import Connection

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
THIS_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
TODAY = THIS_HOUR.replace(hour=0)
START_OF_RULES = TODAY - 2 * DAY
ORDERS, SESSIONS, PURCHASES, SALES = 41, 1, 17, 50
WOOCOMMERCE, EVENTS = 3, 5


def add_rule(connection: Connection, slug: str = "acme", name: str = "few", since: date | None = None, **said: Any) -> UUID:
    """A rule by the way that the command goes; below 10 orders of woocommerce in an hour unless said otherwise."""
    limits = {kind: said.pop(kind, None) for kind in ("above", "below", "change", "goal")}
    if not any(limits.values()):
        limits["below"] = "10"
    rule = make_rule(
        name=name,
        channel=said.pop("channel", "woocommerce"),
        metric=said.pop("metric", "orders"),
        grain=said.pop("grain", ""),
        limits=limits,
        since=since or (TODAY - 400 * DAY).date(),
        catalogue=registry.catalogue(connection),
        **said,
    )
    assert registry.store(connection, slug, rule)
    found = connection.execute("select id from public.alert_rules where name = %s and organization_id = (select id from public.organizations where slug = %s)", (name, slug)).fetchone()  # fmt: skip
    connection.execute("delete from public.partition_ledger where asset = 'performance_alerts'")
    connection.commit()
    assert found is not None
    return UUID(str(found["id"]))


def put_hours(
    connection: Connection,
    organization: UUID,
    values: Mapping[datetime, float | str | None],
    metric: int = ORDERS,
    channel: int = WOOCOMMERCE,
) -> None:
    """Values of hours that are computed; 0 has no row, None is not computed. Their days become open, as the pipeline marks them."""
    _make_partitions(connection, values)
    for at, value in values.items():
        _put(connection, "hourly_facts", '"timestamp"', organization, at, value, metric, channel)
        bucket = at.replace(minute=0)
        _close(connection, "hourly_aggregates", organization, bucket, value is not None)
    done = [at for at, value in values.items() if value is not None]
    connection.execute("select private.mark_alert_days(%s, %s, true)", ([organization] * len(done), done))
    connection.commit()


def put_days(
    connection: Connection,
    organization: UUID,
    values: Mapping[datetime, float | str | None],
    metric: int = ORDERS,
    channel: int = WOOCOMMERCE,
) -> None:
    """The same of days, by their midnights UTC."""
    _make_partitions(connection, values)
    for at, value in values.items():
        _put(connection, "daily_facts", "date", organization, at.date(), value, metric, channel)
        _close(connection, "daily_aggregates", organization, at, value is not None)
    done = [at for at, value in values.items() if value is not None]
    connection.execute("select private.mark_alert_days(%s, %s, false)", ([organization] * len(done), done))
    connection.commit()


def _make_partitions(connection: Connection, values: Mapping[datetime, Any]) -> None:
    connection.execute(
        "select private.ensure_partitions(t, %s, %s) from unnest(array['hourly_facts', 'daily_facts', 'partition_ledger']) t",
        (min(values), max(values) + DAY),
    )


def _put(
    connection: Connection, table: str, column: str, organization: UUID, at: Any, value: Any, metric: int, channel: int
) -> None:
    key = (organization, metric, channel, at)
    connection.execute(
        f"delete from public.{table} where organization_id = %s and metric_id = %s and channel_id = %s and {column} = %s".encode(),
        key,
    )
    if value is not None and Decimal(str(value)) != 0:
        connection.execute(
            f"insert into public.{table} (organization_id, metric_id, channel_id, {column}, value) values (%s, %s, %s, %s, %s)".encode(),
            (*key, Decimal(str(value))),
        )


def _close(connection: Connection, asset: str, organization: UUID, bucket: datetime, is_done: bool) -> None:
    connection.execute(
        "insert into public.partition_ledger (organization_id, asset, bucket, status, computed_version) values (%s, %s, %s, %s, %s)"
        " on conflict (organization_id, asset, bucket) do update set status = excluded.status, computed_version = excluded.computed_version",
        (organization, asset, bucket, "done" if is_done else "stale", 1 if is_done else None),
    )


def evaluate(
    connection: Connection, ids: Sequence[UUID], first: datetime, last: datetime | None = None, told_by: Sequence[str] = ()
) -> dict[str, int]:
    """One run over days, both included; sums of its figures."""
    rows = connection.execute(
        query("evaluate_alerts"),
        {"ids": list(ids), "start": first, "end": (last or TODAY + DAY) + DAY, "run_id": None, "told_by": list(told_by)},
    ).fetchall()
    connection.commit()
    return {name: sum(row[name] for row in rows) for name in ("alerts_opened", "alerts_resolved", "alerts_withdrawn")}


def alerts(
    connection: Connection, organization: UUID | None = None, columns: str = "state, fired, cleared, value"
) -> list[tuple[Any, ...]]:
    """(state, bucket in which it fired, bucket in which it cleared, current value) in their order."""
    names = columns.split(", ")
    found = connection.execute(
        "select case when withdrawn_at is not null then 'withdrawn' when is_active then 'active' else 'resolved' end as state,"
        " fired_bucket as fired, cleared_bucket as cleared, current_value as value, message, id, transitions, details ->> 'rule' as rule,"
        " organization_id from public.performance_alerts where %(id)s::uuid is null or organization_id = %(id)s order by fired_bucket, 8",
        {"id": organization},
    ).fetchall()
    connection.rollback()
    return [tuple(row[name] for name in names) for row in found]


def series(start: datetime, *values: float | str | None, step: timedelta = HOUR) -> dict[datetime, float | str | None]:
    """Values of buckets in a row."""
    return {start + number * step: value for number, value in enumerate(values)}
