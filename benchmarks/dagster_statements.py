"""Statements of benchmarks.dagster_storage: a day of Dagster's rows, made of copies of those of real runs and ticks."""

from __future__ import annotations

ORGANIZATIONS = """
insert into public.organizations (id, slug, name, time_zone)
select md5('organisation ' || i)::uuid, 'organisation-' || i, 'Organisation ' || i, 'UTC' from generate_series(1, %(organizations)s) i
"""
TEMPLATES = """
create temp table template_runs as
select r.*, row_number() over (order by r.id) as number from dagster.runs r;
create temp table template_tags as
select t.* from dagster.run_tags t;
create temp table template_events as
select e.*, row_number() over (partition by e.run_id order by e.id) as place, r.pipeline_name,
       extract(epoch from e."timestamp" - r.create_timestamp) as after
from dagster.event_logs e join dagster.runs r using (run_id);
create temp table template_event_tags as
select g.asset_key, g.key, g.value, e.run_id, e.place, e.after, e.pipeline_name
from dagster.asset_event_tags g join template_events e on e.id = g.event_id;
create temp table template_checks as
select c.*, r.pipeline_name from dagster.asset_check_executions c join dagster.runs r using (run_id);
create temp table template_ticks as
select t.*, row_number() over (partition by t.job_origin_id, t.status order by t.id) as place from dagster.job_ticks t;
create temp table copies (
    pipeline_name text, run_id text, number integer, at timestamp, first_id bigint, new_run_id text, hour text, today text, yesterday text);
truncate dagster.event_logs, dagster.asset_event_tags, dagster.asset_check_executions, dagster.runs, dagster.run_tags, dagster.job_ticks;
"""
# Runs of one day, spread over it, in the order of their moments; each has its ids after those of the one before.
PLAN = """
truncate copies;
insert into copies
select k.pipeline_name, k.run_id, k.number, k.at,
       %(first_id)s + coalesce(sum(k.events) over (order by k.at, k.pipeline_name rows between unbounded preceding and 1 preceding), 0),
       md5(k.pipeline_name || k.at)::uuid::text, to_char(k.at - interval '1 hour', 'YYYY-MM-DD-HH24') || ':00',
       to_char(k.at, 'YYYY-MM-DD'), to_char(k.at - interval '1 day', 'YYYY-MM-DD')
from (
    select r.pipeline_name, r.run_id, n.number, (select count(*) from template_events e where e.run_id = r.run_id) as events,
           %(day)s::timestamp + (n.number + 0.3) * interval '1 day' / (%(runs)s::jsonb ->> r.pipeline_name)::integer as at
    from template_runs r
    cross join lateral generate_series(0, (%(runs)s::jsonb ->> r.pipeline_name)::integer - 1) as n (number)
) k
"""
_MOVED = """case when {name} like '%%' || %(hour)s || '%%' then replace({name}, %(hour)s, c.hour)
    when {name} like '%%' || %(today)s || '%%' then replace({name}, %(today)s, c.today) else replace({name}, %(yesterday)s, c.yesterday) end"""
COPY = (
    """
insert into dagster.runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, partition, partition_set, create_timestamp,
                          update_timestamp, start_time, end_time, backfill_id)
select c.new_run_id, r.snapshot_id, r.pipeline_name, r.mode, r.status, replace(r.run_body, r.run_id, c.new_run_id), r.partition, r.partition_set,
       c.at, c.at + (r.update_timestamp - r.create_timestamp), extract(epoch from c.at), extract(epoch from c.at) + r.end_time - r.start_time,
       r.backfill_id
from copies c join template_runs r using (run_id) order by c.at
""",
    """
insert into dagster.run_tags (run_id, key, value)
select c.new_run_id, t.key, """
    + _MOVED.format(name="t.value")
    + """
from copies c join template_tags t using (run_id) order by c.at
""",
    """
insert into dagster.event_logs (id, run_id, event, dagster_event_type, "timestamp", step_key, asset_key, partition)
select c.first_id + e.place, c.new_run_id, """
    + _MOVED.format(name="replace(e.event, e.run_id, c.new_run_id)")
    + """, e.dagster_event_type, c.at + e.after * interval '1 second', e.step_key, e.asset_key, """
    + _MOVED.format(name="e.partition")
    + """
from copies c join template_events e using (run_id) order by c.first_id + e.place
""",
    """
insert into dagster.asset_event_tags (event_id, asset_key, key, value, event_timestamp)
select c.first_id + g.place, g.asset_key, g.key,
       case when g.key = 'dagster/data_version' then md5(c.new_run_id || g.place) || md5(g.place || c.new_run_id) else """
    + _MOVED.format(name="g.value")
    + """ end, c.at + g.after * interval '1 second'
from copies c join template_event_tags g using (run_id) order by c.first_id + g.place
""",
    """
insert into dagster.asset_check_executions (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id, create_timestamp)
select k.asset_key, k.check_name, k.partition, c.new_run_id, k.execution_status, replace(k.evaluation_event, k.run_id, c.new_run_id),
       c.at, c.first_id + 1, c.first_id, c.at
from copies c join template_checks k using (run_id) order by c.at
""",
    """
insert into dagster.job_ticks (job_origin_id, selector_id, status, type, "timestamp", tick_body, create_timestamp, update_timestamp)
select t.job_origin_id, t.selector_id, t.status, t.type, k.at, t.tick_body, k.at, k.at
from template_ticks t
cross join lateral (select (%(ticks)s::jsonb #>> array[t.job_origin_id, t.status])::integer as count) n
cross join lateral generate_series(0, n.count - 1) as g (number)
cross join lateral (select %(day)s::timestamp + (g.number + 0.5) * interval '1 day' / n.count as at) k
order by k.at
""",
)
SIZES = """
select c.relname::text as "table", pg_total_relation_size(c.oid) as total, pg_indexes_size(c.oid) as indexes, s.n_live_tup as rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_stat_user_tables s on s.relid = c.oid
where n.nspname = 'dagster' and c.relkind = 'r' order by 2 desc
"""
# The state of every partition: its newest materialization, in whatever run.
PARTITIONS = """
select count(distinct (e.asset_key, e.partition)) as partitions from dagster.event_logs e
where e.dagster_event_type = 'ASSET_MATERIALIZATION' and e.partition is not null
"""
