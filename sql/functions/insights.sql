-- Insights: the series that they are found in, and how what was found is stored.

-- What a run has open, of which organisations, and how the ledger stood when it was read.
-- state: changes with every bucket that is marked or closed in the window; a run that finds another one at the end has read
-- what is no longer true.
create or replace function private.insight_ledger_state(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, asset_name text default 'ai_insights')
returns table (organization_id uuid, state text)
language sql stable set search_path = '' set jit = off as $$
    select o.id, concat_ws('|', count(l.bucket), sum(l.input_version), sum(l.computed_version))
    from unnest(organization_ids) as o (id)
    left join public.partition_ledger l
        on l.organization_id = o.id and l.asset = asset_name and l.bucket >= from_time and l.bucket < to_time
    group by o.id
$$;

-- From here on the 21 days that an hour is compared with are all there. What was said of earlier ones stands: looked at again by a
-- run over an old hour, with half of its history gone, it would be withdrawn for want of it.
create or replace function private.insights_judged_from() returns timestamptz
language sql stable set search_path = '' as $$
    select coalesce(max(s.dropped_to) + interval '21 days', '-infinity') from private.partition_steps s where s.parent = 'hourly_facts'
$$;

-- Organisations with something open from from_time to to_time: which hours from history_from to until_time are computed (as
-- numbers of hours from history_from, int4 each), and what else their insights' words and limits need. An hour that was computed
-- and has changed since keeps its value until it is computed anew.
create or replace function private.insight_organizations(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, history_from timestamptz, judged_from timestamptz,
    until_time timestamptz)
returns table (organization_id uuid, slug text, currency text, time_zone text, state text, hours bytea, dismissed jsonb)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    select g.id, g.slug, g.currency, g.time_zone, s.state, h.hours, d.dismissed
    from public.organizations g
    join private.insight_ledger_state(organization_ids, judged_from, until_time) s on s.organization_id = g.id
    left join (
        select l.organization_id,
               string_agg(int4send((extract(epoch from l.bucket - history_from) / 3600)::integer), '' order by l.bucket) as hours
        from public.partition_ledger l
        where l.organization_id = any (organization_ids) and l.asset = 'hourly_aggregates' and l.computed_version is not null
          and l.bucket >= history_from and l.bucket < until_time
        group by 1
    ) h on h.organization_id = g.id
    left join (
        select i.organization_id,
               jsonb_agg(jsonb_build_object('key', i.insight_key, 'at', extract(epoch from i.dismissed_at)) order by i.dismissed_at)
                   as dismissed
        from public.ai_insights i
        where i.organization_id = any (organization_ids) and i.is_dismissed and i.insight_type = 'anomaly'
          and i.dismissed_at >= from_time - interval '90 days'
        group by 1
    ) d on d.organization_id = g.id
    where g.id in (select o.organization_id
                   from private.open_buckets('ai_insights', organization_ids, from_time, to_time, '1 hour') o)
    order by g.slug
$$;

-- The hourly series of the metrics, one row each: hours (int4) and values (float8) as bytes, since arrays of numbers take ten
-- times as long to read in Python. delivered_to: up to where the channel's sources have been read; null: nobody reads them.
-- (Both columns of a row hold its hours in the same order, whichever that is: put in order they took three times as long.)
create or replace function private.insight_series(
    organization_ids uuid[], history_from timestamptz, until_time timestamptz, names text[])
returns table (organization_id uuid, channel text, metric text, unit text, delivered_to timestamptz, hours bytea, "values" bytea)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    select f.organization_id, c.channel, m.metric, m.unit, d.delivered_to, f.hours, f.found
    from (
        select h.organization_id, h.channel_id, h.metric_id,
               string_agg(int4send(floor(extract(epoch from h."timestamp" - history_from) / 3600)::integer), '') as hours,
               string_agg(float8send(h.value::float8), '') as found
        from public.hourly_facts h
        where h.organization_id = any (organization_ids) and h."timestamp" >= history_from and h."timestamp" < until_time
          and h.metric_id = any (array(
              select k.metric_id from public.metrics k where k.metric = any (names) and k.hourly and k.kind = 'sum'))
        group by 1, 2, 3
    ) f
    join public.metrics m on m.metric_id = f.metric_id
    join public.channels c on c.channel_id = f.channel_id
    left join (
        select s.organization_id, s.source_type, min(coalesce(s.last_sync_at, s.created_at)) as delivered_to
        from public.data_sources s
        where s.organization_id = any (organization_ids) and s.is_connected
        group by 1, 2
    ) d on d.organization_id = f.organization_id and d.source_type = c.channel
    order by f.organization_id, c.channel, m.metric
$$;

-- Stores what was found of the organisations named in states, and closes their buckets of the run, in one transaction.
--
-- states: {organisation: state of the ledger at the reading}. Where it is another one now, another run has been faster or the
-- data changed: that organisation is left as it is, its bucket open. insights: those found, as they are stored. What stands from
-- judged_from to judged_to and is not found any more is withdrawn; found again, it holds again. Only rows that differ are
-- written. asset_name: ai_insights for anomalies, by hours; rule_insights for all other types, by days (bucket of an insight: the
-- day that it belongs to). judged: the organisations that were looked at; of others the buckets are closed and nothing else. A worse severity makes an insight unread, unless it was dismissed.
create or replace function private.store_insights(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, judged_from timestamptz, judged_to timestamptz,
    states jsonb, insights jsonb, run_id uuid default null, asset_name text default 'ai_insights', judged uuid[] default null)
returns table (organization_id uuid, insights_new bigint, insights_changed bigint, insights_withdrawn bigint, hours bigint)
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
#variable_conflict use_column
declare
    ids uuid[];
    judged_ids uuid[];
    by_rules boolean := asset_name = 'rule_insights';
    kept_from timestamptz := case when by_rules then private.rules_judged_from() else private.insights_judged_from() end;
begin
    organization_ids := private.lock_organizations('insights', organization_ids);
    perform private.ensure_partitions('partition_ledger', from_time, to_time);
    drop table if exists pg_temp.found_insights, pg_temp.insight_changes, pg_temp.insight_buckets;
    ids := array(
        select s.organization_id
        from private.insight_ledger_state(organization_ids, judged_from, judged_to, asset_name) s
        where states ->> s.organization_id::text = s.state
    );
    judged_ids := case when judged is null then ids else array(select i from unnest(ids) i where i = any (judged)) end;

    create temp table insight_buckets on commit drop as
    select * from private.open_buckets(
        asset_name, ids, from_time, to_time, case when by_rules then interval '1 day' else interval '1 hour' end);

    create temp table found_insights on commit drop as
    select n.organization_id, coalesce(n.insight_type, 'anomaly') as insight_type,
           coalesce(n.bucket, date_trunc('hour', n.starts_at)) as bucket, n.insight_key, n.starts_at, n.period_start, n.period_end,
           n.title, n.description, n.severity, n.confidence_score, n.data_points, n.recommendations, n.closed_at, n.expires_at
    from jsonb_to_recordset(insights) as n (
        organization_id uuid, insight_type text, bucket timestamptz, insight_key text, starts_at timestamptz, period_start timestamptz, period_end timestamptz,
        title text, description text, severity text, confidence_score numeric, data_points jsonb, recommendations jsonb,
        closed_at timestamptz, expires_at timestamptz)
    where n.organization_id = any (judged_ids) and n.starts_at >= kept_from;

    create temp table insight_changes (organization_id uuid, kind text) on commit drop;

    -- First what is taken back, so that an open key is free for what takes its place.
    with withdrawn as (
        update public.ai_insights i
        set withdrawn_at = now(), closed_at = coalesce(i.closed_at, now()), updated_at = now()
        from public.organizations g
        where g.id = i.organization_id and i.organization_id = any (judged_ids) and (i.insight_type = 'anomaly') <> by_rules
          and i.withdrawn_at is null and i.starts_at >= kept_from
          and case when by_rules then private.rule_insight_day(i.starts_at, g.time_zone) else i.starts_at end >= judged_from
          and case when by_rules then private.rule_insight_day(i.starts_at, g.time_zone) else i.starts_at end < judged_to
          and not exists (
              select from pg_temp.found_insights n
              where n.organization_id = i.organization_id and n.insight_key = i.insight_key and n.starts_at = i.starts_at)
        returning i.organization_id
    )
    insert into pg_temp.insight_changes select w.organization_id, 'withdrawn' from withdrawn w;

    -- What is over closes before what goes on opens.
    update public.ai_insights i
    set closed_at = n.closed_at
    from pg_temp.found_insights n
    where i.organization_id = n.organization_id and i.insight_key = n.insight_key and i.starts_at = n.starts_at
      and i.closed_at is null and n.closed_at is not null;
    with changed as (
        update public.ai_insights i
        set title = n.title, description = n.description, severity = n.severity, confidence_score = n.confidence_score,
            data_points = n.data_points, recommendations = n.recommendations, period_start = n.period_start,
            period_end = n.period_end, closed_at = n.closed_at, expires_at = n.expires_at, withdrawn_at = null,
            is_read = i.is_read and (i.is_dismissed or private.severity_rank(n.severity) <= private.severity_rank(i.severity)),
            updated_at = now()
        from pg_temp.found_insights n
        where i.organization_id = n.organization_id and i.insight_key = n.insight_key and i.starts_at = n.starts_at
          and (i.title::text, i.description, i.severity::text, i.confidence_score, i.data_points, i.recommendations, i.period_start,
               i.period_end, i.closed_at, i.expires_at, i.withdrawn_at)
              is distinct from (n.title, n.description, n.severity, n.confidence_score, n.data_points, n.recommendations,
               n.period_start, n.period_end, n.closed_at, n.expires_at, null)
        returning i.organization_id
    )
    insert into pg_temp.insight_changes select c.organization_id, 'changed' from changed c;

    -- One open insight a key: an older one that nothing judges any more ends where the next begins.
    update public.ai_insights i
    set closed_at = n.starts_at, updated_at = now()
    from pg_temp.found_insights n
    where i.organization_id = n.organization_id and i.insight_key = n.insight_key and i.starts_at < n.starts_at
      and i.closed_at is null and n.closed_at is null;

    with added as (
        insert into public.ai_insights as i
            (organization_id, id, insight_type, insight_key, starts_at, period_start, period_end, title, description, severity,
             confidence_score, data_points, recommendations, closed_at, expires_at)
        select n.organization_id, md5(concat_ws('|', n.organization_id, n.insight_key, extract(epoch from n.starts_at)))::uuid,
               n.insight_type, n.insight_key, n.starts_at, n.period_start, n.period_end, n.title, n.description, n.severity,
               n.confidence_score, n.data_points, n.recommendations, n.closed_at, n.expires_at
        from pg_temp.found_insights n
        where not exists (
            select from public.ai_insights i
            where i.organization_id = n.organization_id and i.insight_key = n.insight_key and i.starts_at = n.starts_at)
        order by 1, 2
        returning i.organization_id
    )
    insert into pg_temp.insight_changes select a.organization_id, 'new' from added a;

    insert into public.partition_ledger as l
        (organization_id, asset, bucket, status, input_version, computed_version, row_count, run_id, computed_at)
    select b.organization_id, asset_name, b.bucket, 'done', b.input_version, b.input_version,
           (select count(*) from pg_temp.found_insights n
            where n.organization_id = b.organization_id and n.bucket = b.bucket),
           store_insights.run_id, now()
    from pg_temp.insight_buckets b
    order by 1, 3
    on conflict (organization_id, asset, bucket) do update set
        status = excluded.status, computed_version = excluded.computed_version, row_count = excluded.row_count,
        run_id = excluded.run_id, computed_at = excluded.computed_at, error = null, attempts = 0, next_attempt_at = null
    where l.input_version = excluded.input_version;

    return query
    select b.organization_id, coalesce(max(c.new), 0)::bigint, coalesce(max(c.changed), 0)::bigint,
           coalesce(max(c.withdrawn), 0)::bigint, count(*)
    from pg_temp.insight_buckets b
    left join (
        select organization_id, count(*) filter (where kind = 'new') as new, count(*) filter (where kind = 'changed') as changed,
               count(*) filter (where kind = 'withdrawn') as withdrawn
        from pg_temp.insight_changes group by 1
    ) c using (organization_id)
    group by 1
    order by 1;
end $$;

create or replace function private.severity_rank(severity text) returns integer
language sql immutable parallel safe set search_path = '' as $$
    select array_position(array['low', 'medium', 'high', 'critical'], severity)
$$;
