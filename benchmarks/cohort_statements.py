"""What the benchmark of cohorts runs: its events, and weekly retention for each engine."""

from pathlib import Path

from benchmarks.server import Connection

FILL_ORGANIZATIONS = """
insert into public.organizations (id, slug, name, time_zone)
select md5('organisation ' || i)::uuid, 'organisation-' || i, 'Organisation ' || i,
       (array['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Ho_Chi_Minh', 'Asia/Kolkata',
              'Australia/Adelaide', 'Asia/Kathmandu', 'America/Los_Angeles'])[1 + i %% 8]
from generate_series(1, %(organizations)s) i
"""
# An actor's sessions: some one, some a dozen, over weeks; organisations from a handful of actors to two in a hundred of all.
MAKE_EVENTS = """
create unlogged table bench.events as
select g.id as organization_id, 'u' || a.actor as visitor_id,
       %(start)s::timestamptz + (a.first_day + s.session * a.pace) * interval '1 day'
           + ((a.actor * 7919::bigint + s.session * 104729 + e.event * 40) %% 86400) * interval '1 second' as at
from (
    select i as actor, 1 + floor(%(organizations)s * power((i * 0.6180339887498949) %% 1, 3))::integer as number,
           (i * 7::bigint) %% %(days)s as first_day, 1 + (i * 31::bigint) %% 9 as pace,
           1 + (case when i %% 4 = 0 then 8 when i %% 4 = 1 then 3 else 0 end + i %% 3) as sessions
    from generate_series(1, %(actors)s) i
) a
join (select id, row_number() over (order by slug) as number from public.organizations) g using (number)
cross join lateral generate_series(0, a.sessions) as s (session)
cross join lateral generate_series(1, %(each)s) as e (event)
where a.first_day + s.session * a.pace < %(days)s
"""
MAKE_DAYS = """
create unlogged table bench.days as
select e.organization_id, (e.at at time zone g.time_zone)::date as date, e.visitor_id, count(*) as events
from bench.events e join public.organizations g on g.id = e.organization_id
group by 1, 2, 3
"""
MAKE_VISITORS = """
create unlogged table bench.visitors as
select organization_id, visitor_id, min(at) as first_seen_at from bench.events group by 1, 2
"""
FILL_VISITORS = """
insert into public.visitors (organization_id, first_seen_at, signed_up_at, visitor_id, user_id)
select v.organization_id, v.first_seen_at,
       case when hashtext(v.visitor_id) %% 3 = 0 then v.first_seen_at end, v.visitor_id, v.visitor_id
from bench.visitors v join public.organizations g on g.id = v.organization_id
where (v.first_seen_at at time zone g.time_zone)::date between %(first)s and %(last)s
"""
FILL_DAYS = """
insert into public.visitor_days (organization_id, date, visitor_id)
select organization_id, date, visitor_id from bench.days where date between %(first)s and %(last)s order by 1, 2, 3
"""
FILL_PURCHASES = """
insert into public.event_tracking (organization_id, "timestamp", event_value, session_id, visitor_id, user_id, event_name)
select organization_id, at, 20, 's', visitor_id, visitor_id, 'Order Completed'
from (select e.*, row_number() over () as n from bench.events e) e
join public.organizations g on g.id = e.organization_id
where n %% 100 = 0 and (at at time zone g.time_zone)::date between %(first)s and %(last)s
"""
COMPUTE = "select coalesce(sum(rows_written), 0) as n from public.aggregate_cohorts(%(ids)s, %(first)s, %(last)s)"
# Weekly retention of the full history from what is kept ...
KEPT = """
select organization_id, visit_cohort, (period_start - visit_cohort) / 7 as k, count(*) as n
from public.cohort_visits where period_type = 'week' and visit_cohort is not null group by 1, 2, 3
"""
# ... and from the visitors' days, as the engines beside it do.
PLAIN = """
with weeks as (
    select distinct organization_id, visitor_id, date_trunc('week', date::timestamp)::date as week from public.visitor_days
), firsts as (
    select organization_id, visitor_id, week, min(week) over (partition by organization_id, visitor_id) as cohort from weeks
)
select organization_id, cohort, (week - cohort) / 7 as k, count(*) as n from firsts group by 1, 2, 3
"""
DUCKDB = """
with weeks as (
    select distinct organization_id, visitor_id, date_trunc('week', {day})::date as week from '{file}'
), firsts as (
    select organization_id, visitor_id, min(week) as cohort from weeks group by 1, 2
)
select organization_id, cohort, (week - cohort) // 7 as k, count(*) as n
from weeks join firsts using (organization_id, visitor_id) group by 1, 2, 3
"""
CHDB = """
with weeks as (
    select distinct organization_id, visitor_id, toMonday({day}) as week from file('{file}', Parquet)
), firsts as (
    select organization_id, visitor_id, min(week) as cohort from weeks group by 1, 2
)
select organization_id, cohort, intDiv(week - cohort, 7) as k, count(*) as n
from weeks join firsts using (organization_id, visitor_id) group by 1, 2, 3
"""
KEPT_DUCKDB = """
select organization_id, visit_cohort, (period_start - visit_cohort) // 7 as k, count(*) as n
from '{file}' where visit_cohort is not null group by 1, 2, 3
"""
CELLS = """
select organization_id::text, cohort_date::text, period_number, active_users
from public.cohort_analysis where cohort_type = 'first_visit' and period_type = 'week' and active_users > 0
"""
NO_WORKERS = "select set_config('max_parallel_workers_per_gather', '0', false), set_config('timezone', 'UTC', false)"
EXPORTS = {
    # (Every event, with the zone in which its day lies.)
    "events": """
select e.organization_id::text, e.visitor_id, e.at as moment, g.time_zone
from bench.events e join public.organizations g on g.id = e.organization_id
""",
    "days": "select organization_id::text, date, visitor_id from bench.days",
    "weeks": """
select organization_id::text, member, period_start, visit_cohort from public.cohort_visits where period_type = 'week'
""",
}


def export(connection: Connection, statement: str, file: str) -> None:
    """The rows of a statement as Parquet, by way of CSV."""
    import duckdb

    text = Path(file + ".csv")
    with connection.cursor() as cursor, text.open("wb") as out:
        with cursor.copy(f"copy ({statement}) to stdout (format csv, header)".encode()) as copy:
            for block in copy:
                out.write(block)
    duckdb.execute(f"copy (select * from read_csv('{text}')) to '{file}' (format parquet)")
    text.unlink()
