"""Two organisations with a row in every table that belongs to tenants."""

from uuid import UUID

import psycopg.sql

from analytics_assets_tests.schema_rows import LATER, NOW, SOUND, cases, values
from analytics_assets_tests.woocommerce import Connection, add_organization

# Tables of which schema_rows knows no sound row; {source} is a source of the organisation.
_MORE = """
sync_streams (data_source_id, window_start, window_end, stream, purpose) values ({source}, {now}, {later}, 'orders', 'reread')
raw_page_digests (source, stream, content_sha256, data_source_id, first_fetched_at, last_fetched_at)\
 values ('shopify', 'orders', sha256('x'), {source}, {now}, {now})
raw_report_digests (data_source_id, window_start, window_end, fetched_at, stream, content_sha256)\
 values ({source}, {now}, {later}, {now}, 'hours', sha256('x'))
orders (data_source_id, bucket_at, occurred_at, placed_at, modified_at, fetched_at, channel_id, is_counted, currency, order_id,\
 status, items_sold, gross_sales, discounts, shipping, taxes, total, content_md5)\
 values ({source}, {now}, {now}, {now}, {now}, {now}, 1, true, 'EUR', '1', 'paid', 1, 10.50, 0, 0, 0, 10.50, gen_random_uuid())
refunds (data_source_id, bucket_at, occurred_at, fetched_at, channel_id, currency, refund_id, amount, taxes, shipping,\
 items_refunded, content_md5) values ({source}, {now}, {now}, {now}, 1, 'EUR', '1', 1, 0, 0, 0, gen_random_uuid())
customers (data_source_id, customer_key, channel_id) values ({source}, 'id:1', 1)
order_sales (data_source_id, bucket_at, occurred_at, channel_id, is_counted, currency, sale_id, order_id, agreement_id, reason,\
 action, line_type, quantity, total, taxes, discounts)\
 values ({source}, {now}, {now}, 1, true, 'EUR', '1', '1', '1', 'ORDER', 'ORDER', 'PRODUCT', 1, 1, 0, 0)
metric_observations (bucket_at, data_source_id, metric_id, channel_id, value) values ({now}, {source}, 1, 1, 5)
hourly_facts ("timestamp", metric_id, channel_id, value) select h, 1, 1, 5 from generate_series({now}, {now} + interval '9 h', '1 h') h
daily_facts (date, metric_id, channel_id, value) values ({now}, 1, 1, 5)
daily_observations (data_source_id, date, metric_id, channel_id, value) values ({source}, {now}, 1, 1, 5)
visitor_days (date, visitor_id) values ({now}, 'v')
"""


def add_tenant(connection: Connection, slug: str) -> UUID:
    """An organisation with at least a row in every table; its id. Committed."""
    organization = add_organization(connection, slug)
    for parent in connection.execute("select parent from private.partition_steps").fetchall():
        connection.execute(
            "select private.ensure_partitions(%s, %s::timestamptz, %s::timestamptz + interval '1 day')",
            (parent["parent"], NOW, LATER),
        )
    for table, sound in cases(SOUND):
        row = values(sound)
        if "organization_id" in row:
            row["organization_id"] = f"'{organization}'"
            if table == "event_keys":
                row["key_sha256"] = f"sha256('{slug}')"
            names = ", ".join(f'"{name}"' for name in row)
            _run(connection, f"insert into public.{table} ({names}) values ({', '.join(row.values())})")
    source = f"(select id from public.data_sources where organization_id = '{organization}')"
    for line in _MORE.strip().splitlines():
        text = line.format(source=source, now=f"timestamptz '{NOW}'", later=f"timestamptz '{LATER}'")
        for verb in ("values (", "select "):
            text = text.replace(f") {verb}", f") {verb}'{organization}', ", 1)
        _run(connection, f"insert into public.{text.replace(' (', ' (organization_id, ', 1)}")
    connection.commit()
    return organization


def rows_by_table(connection: Connection, organization: UUID) -> dict[str, int]:
    """Rows with the organisation's id in any table of the database, partitions one by one: not by the project's own function."""
    tables = connection.execute(
        """select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute a on a.attrelid = c.oid and a.attname in ('organization_id', 'org_id') and not a.attisdropped
           where c.relkind in ('r', 'p', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1"""
    ).fetchall()
    counts = {table["name"]: _count(connection, table["name"], "organization_id", organization) for table in tables}
    return counts | {"organizations": _count(connection, "public.organizations", "id", organization)}


def _count(connection: Connection, table: str, column: str, organization: UUID) -> int:
    statement = psycopg.sql.SQL(f"select count(*) as n from {table} where {column} = %s")
    row = connection.execute(statement, (organization,)).fetchone()
    assert row is not None
    return int(row["n"])


def _run(connection: Connection, statement: str) -> None:
    connection.execute(psycopg.sql.SQL(statement))
