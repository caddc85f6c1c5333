"""Ten million events of a thousand shops, made by the server alone and the same at every run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg.sql

from benchmarks.server import Connection

DAYS = 90
#: The last event lies before this midnight.
END = datetime(2026, 6, 1, tzinfo=UTC)
START = END - timedelta(days=DAYS)
_EVENTS_A_VISITOR = 33
BOT = "bot"

_NOISE = """
create function pg_temp.noise(key bigint, seed integer) returns double precision language sql immutable parallel safe as $$
    select (hashint8extended(key, seed) & 16777215)::double precision / 16777216
$$
"""
_ORGANIZATIONS = """
insert into public.organizations (id, slug, name, time_zone)
select md5('organisation ' || i)::uuid, 'organisation-' || i, 'Organisation ' || i,
       (array['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Ho_Chi_Minh', 'Asia/Kolkata',
              'Australia/Adelaide', 'Asia/Kathmandu', 'America/Los_Angeles'])[1 + i %% 8]
from generate_series(1, %(organizations)s) i
"""
# A few shops have many visitors, most have few. Three in ten visitors are known. In one session of four somebody buys.
_SESSIONS = """
create temp table new_sessions as
select md5('organisation ' || o.number)::uuid as organization_id, v.number as visitor, v.number * 8 + s.number as session,
       md5('visitor ' || v.number) as visitor_id,
       case when pg_temp.noise(v.number, 2) < 0.3 then md5('visitor ' || v.number) end as user_id,
       %(start)s + pg_temp.noise(v.number * 8 + s.number, 3) * (%(days)s * interval '1 day' - interval '2 hours') as started_at,
       1 + (pg_temp.noise(v.number * 8 + s.number, 4) * 30)::integer as events,
       pg_temp.noise(v.number * 8 + s.number, 9) < 0.25 as is_buying
from generate_series(1, %(visitors)s) as v (number)
cross join lateral (
    select 1 + (%(organizations)s * power(pg_temp.noise(v.number, 1), 1.7))::integer %% %(organizations)s as number
) o
cross join lateral generate_series(1, 1 + (pg_temp.noise(v.number, 5) * 2.2)::integer) as s (number)
"""
_EVENTS = """
insert into public.event_tracking (organization_id, "timestamp", received_at, id, event_type, session_id, visitor_id, user_id,
                                   anonymous_id, event_name, page_url, metadata)
select s.organization_id, t.at, t.at + interval '1 second', md5('message ' || s.session || ' ' || e.number)::uuid,
       case when k.name = 'Page Viewed' then 'page' else 'track' end, 's_' || left(md5('session ' || s.session), 24),
       s.visitor_id, s.user_id, case when s.user_id is null then s.visitor_id end, k.name,
       'https://shop.example/products/' || (pg_temp.noise(s.session * 64 + e.number, 7) * 5000)::integer,
       jsonb_build_object('properties', jsonb_build_object('category', 'shoes', 'price', 49.9, 'position', e.number),
                          'context', jsonb_build_object('locale', 'en', 'campaign', jsonb_build_object('source', 'newsletter')))
from (select * from new_sessions order by started_at) s
cross join lateral generate_series(1, s.events) as e (number)
cross join lateral (
    select date_trunc('milliseconds', s.started_at + e.number * interval '45 seconds'
                      + pg_temp.noise(s.session * 64 + e.number, 6) * interval '40 seconds') as at
) t
cross join lateral (select pg_temp.noise(s.session * 64 + e.number, 8) as draw) d
cross join lateral (
    select case when d.draw < 0.50 then 'Page Viewed' when d.draw < 0.80 then 'Product Viewed'
                when d.draw < 0.86 then 'Products Searched' when not s.is_buying then 'Page Viewed'
                when d.draw < 0.94 then 'Product Added' when d.draw < 0.98 then 'Checkout Started'
                else 'Order Completed' end as name
) k
"""
_FUNNELS = """
insert into public.funnels (organization_id, funnel_name, window_seconds, unit, steps)
select id, 'purchase', 86400, 'user',
       '[{"name": "Viewed", "event": "Product Viewed"}, {"name": "Added", "event": "Product Added"},
         {"name": "Checkout", "event": "Checkout Started"}, {"name": "Ordered", "event": "Order Completed"}]'
from public.organizations
"""
# Within two days: no window ever lets go of what came before.
_BOT = """
insert into public.event_tracking (organization_id, "timestamp", session_id, visitor_id, user_id, event_name)
select (select id from public.organizations order by id limit 1), %(start)s + i * interval '4 seconds', 's', %(bot)s, %(bot)s,
       (array['Product Viewed', 'Product Added', 'Product Viewed', 'Checkout Started', 'Order Completed'])[1 + i %% 5]
from generate_series(1, %(events)s) i
"""


def fill(connection: Connection, organizations: int, events: int, progress: Callable[[str], None]) -> int:
    """Organisations, their events and a funnel each. Returns the number of events."""

    def run(statement: str, **parameters: Any) -> None:
        connection.execute(psycopg.sql.SQL(statement), parameters or None)

    run(_NOISE)
    run(_ORGANIZATIONS, organizations=organizations)
    run("select private.ensure_partitions('event_tracking', %(start)s, %(end)s)", start=START - timedelta(days=2), end=END)
    progress("sessions")
    run(_SESSIONS, organizations=organizations, visitors=events // _EVENTS_A_VISITOR, start=START, days=DAYS)
    # Ten million rows into indexes, one by one, would take most of the benchmark's time.
    indexes = connection.execute(
        "select c.relname, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') as definition from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where i.indrelid = 'public.event_tracking'::regclass and not i.indisprimary"
    ).fetchall()
    for index in indexes:
        connection.execute(psycopg.sql.SQL("drop index public.{}").format(psycopg.sql.Identifier(index["relname"])))
    run("alter table public.event_tracking drop constraint event_tracking_pkey")
    progress("events")
    run(_EVENTS)
    progress("indexes")
    run('alter table public.event_tracking add primary key (organization_id, "timestamp", id)')
    for index in indexes:
        run(index["definition"])
    run(_FUNNELS)
    run("drop table new_sessions")
    run("vacuum (analyze) public.event_tracking")
    run("analyze public.organizations")
    run("analyze public.funnels")
    (row,) = connection.execute("select count(*) as events from public.event_tracking").fetchall()
    return int(row["events"])


def add_bot(connection: Connection, events: int) -> None:
    """One actor with so many events, four seconds apart, in one organisation."""
    connection.execute(psycopg.sql.SQL(_BOT), {"start": START + timedelta(days=40), "bot": BOT, "events": events})


def remove_bot(connection: Connection) -> None:
    """Takes it away again."""
    connection.execute("delete from public.event_tracking where visitor_id = %s", (BOT,))
    connection.execute("vacuum public.event_tracking")
