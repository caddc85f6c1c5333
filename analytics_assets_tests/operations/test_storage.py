"""`analytics storage` against the server's own figures."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from analytics_assets.operations.storage import forecast, organization_sizes
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.woocommerce import Connection, add_organization


def fill(connection: Connection, organization: object, days: int, rows: int) -> None:
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    connection.execute("select private.ensure_partitions('hourly_facts', %s, now())", (first,))
    connection.execute(
        """insert into public.hourly_facts (organization_id, "timestamp", metric_id, channel_id, value)
           select %s, %s + (i %% (24 * %s)) * interval '1 hour', 1 + i / (24 * %s), 1, i from generate_series(0, %s - 1) i""",
        (organization, first, days, days, rows),
    )
    connection.commit()


def test_bytes_by_table_and_organization(connection: Connection) -> None:
    big, small = add_organization(connection, "big"), add_organization(connection, "small")
    fill(connection, big, 10, 240 * 60)
    fill(connection, small, 10, 240 * 20)
    told = json.loads(analytics("storage", "--json").stdout)
    tables = {table["table"]: table for table in told["tables"]}
    hours = tables["public.hourly_facts"]
    (expected,) = connection.execute(
        "select sum(pg_total_relation_size(inhrelid)) as bytes, count(*) as n from pg_inherits"
        " where inhparent = 'public.hourly_facts'::regclass"
    ).fetchall()
    assert (hours["total"], hours["partitions"]) == (expected["bytes"], expected["n"])
    assert hours["heap"] + hours["indexes"] + hours["toast"] == hours["total"]
    # Ten days are closed: three times that is a month, and 31 days are kept.
    assert hours["per_month"] == pytest.approx(3 * hours["total"], rel=0.2)
    assert hours["in_a_year"] == pytest.approx(hours["per_month"] * 31 / 30, rel=0.01)
    shares = {row["organization"]: row["estimated"] for row in told["organizations"]}
    assert shares["big"] / shares["small"] == pytest.approx(3, rel=0.1)
    assert organization_sizes(connection, "small")[0]["total"] == shares["small"]
    text = analytics("storage", "--organization", "small").stdout
    assert "public.hourly_facts" in text and "an estimate" in text and "big" not in text
    assert analytics("storage", "--organization", "nobody").returncode == 1


def test_a_forecast_ends_at_the_retention() -> None:
    assert forecast(100, None, 30) is None
    assert forecast(100, 10, None) == 220
    assert forecast(100, 90, 60) == 180
    assert forecast(10, 1, 3650) == 22
