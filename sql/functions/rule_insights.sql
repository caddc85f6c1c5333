-- Insights by rules: which organisations a run judges, and the daily series, funnels and cohorts that the rules look at.

-- The day (midnight UTC of the local date) to which an insight by rules belongs: the one that ended when it began.
create or replace function private.rule_insight_day(starts_at timestamptz, time_zone text) returns timestamptz
language sql stable set search_path = '' as $$
    select (date_trunc('day', starts_at at time zone time_zone) - interval '1 day') at time zone 'UTC'
$$;

-- From this day on the eleven weeks that a day is judged by and followed in are all there (see private.insights_judged_from).
create or replace function private.rules_judged_from() returns timestamptz
language sql stable set search_path = '' as $$
    select coalesce(max(s.dropped_to) + interval '77 days', '-infinity') from private.partition_steps s where s.parent = 'daily_facts'
$$;

-- Organisations with days open from from_time to to_time. is_judged: one of these days is over at at_time; others have only the
-- running day, of which nothing is said. days: which days from history_from to until_date have been computed since they are over (as
-- numbers of days from history_from, int4 each): before, they hold a part of their hours.
create or replace function private.rule_insight_organizations(
    organization_ids uuid[], from_time timestamptz, to_time timestamptz, history_from date, judged_from timestamptz,
    judged_to timestamptz, until_date date, at_time timestamptz)
returns table (organization_id uuid, slug text, currency text, time_zone text, state text, is_judged boolean, days bytea, dismissed jsonb)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    select g.id, g.slug, g.currency, g.time_zone, s.state, b.is_judged, h.days, d.dismissed
    from (
        select o.organization_id,
               bool_or((o.bucket at time zone 'UTC' + interval '1 day') at time zone k.time_zone <= at_time) as is_judged
        from private.open_buckets('rule_insights', organization_ids, from_time, to_time, '1 day') o
        join public.organizations k on k.id = o.organization_id
        group by 1
    ) b
    join public.organizations g on g.id = b.organization_id
    join private.insight_ledger_state(organization_ids, judged_from, judged_to, 'rule_insights') s on s.organization_id = g.id
    left join (
        select l.organization_id,
               string_agg(int4send((l.bucket at time zone 'UTC')::date - history_from), '' order by l.bucket) as days
        from public.partition_ledger l
        join public.organizations k on k.id = l.organization_id
        where l.organization_id = any (organization_ids) and l.asset = 'daily_aggregates' and l.computed_version is not null
          and l.bucket >= history_from::timestamp at time zone 'UTC' and l.bucket < until_date::timestamp at time zone 'UTC'
          and (l.bucket at time zone 'UTC' + interval '1 day') at time zone k.time_zone <= least(at_time, l.computed_at)
        group by 1
    ) h on h.organization_id = g.id
    left join (
        select i.organization_id,
               jsonb_agg(jsonb_build_object('key', i.insight_key, 'at', extract(epoch from i.dismissed_at)) order by i.dismissed_at)
                   as dismissed
        from public.ai_insights i
        where i.organization_id = any (organization_ids) and i.is_dismissed and i.insight_type <> 'anomaly'
          and i.dismissed_at >= from_time - interval '180 days'
        group by 1
    ) d on d.organization_id = g.id
    order by g.slug
$$;

-- Goals of calendar months, as they are set with `analytics alerts`, of metrics that can be summed.
create or replace function private.rule_goals(organization_ids uuid[])
returns table (organization_id uuid, name text, channel text, metric text, unit text, target numeric, created_at timestamptz)
language sql stable set search_path = '' as $$
    select r.organization_id, r.name::text, r.channel::text, m.metric, m.unit, r.threshold, r.created_at
    from public.alert_rules r
    join public.metrics m on m.metric = r.metric and m.kind = 'sum'
    where r.organization_id = any (organization_ids) and r.kind = 'goal' and r.is_active
$$;

-- What the rules look at, a row a series: days (int4, from history_from) and values (float8) as bytes, in the same order.
--   daily:  labels channel, metric; first: value. delivered: up to which day (excluded) the channel's sources have been read
--           to its end; null: nobody reads them.
--   funnel: labels funnel, step, name of the step; first: conversions, second: visitors, of the final days of its version.
--   goal:   labels name, channel (all: of all), metric; days: when it was set; first: what the month shall come to.
--   cohort: labels cohort type, period, number of the period; days: cohort_date; first: active, second: size, of complete periods.
create or replace function private.rule_insight_series(
    organization_ids uuid[], names text[], history_from date, until_date date)
returns table (organization_id uuid, family text, labels text[], unit text, delivered integer, days bytea, "first" bytea, "second" bytea)
language sql stable set search_path = '' set timezone = 'UTC' set jit = off as $$
    select f.organization_id, 'daily', array[c.channel, m.metric], m.unit,
           (d.delivered_to at time zone g.time_zone)::date - history_from, f.days, f.found, null::bytea
    from (
        select v.organization_id, v.channel_id, v.metric_id, string_agg(int4send(v.date - history_from), '') as days,
               string_agg(float8send(v.value::float8), '') as found
        from public.daily_facts v
        where v.organization_id = any (organization_ids) and v.date >= history_from and v.date < until_date
          and v.metric_id = any (array(
              select k.metric_id from public.metrics k
              where k.kind = 'sum' and (k.metric = any (names) or k.metric in (select r.metric from private.rule_goals(organization_ids) r))))
        group by 1, 2, 3
    ) f
    join public.metrics m on m.metric_id = f.metric_id
    join public.channels c on c.channel_id = f.channel_id
    join public.organizations g on g.id = f.organization_id
    left join (
        select s.organization_id, s.source_type, min(coalesce(s.last_sync_at, s.created_at)) as delivered_to
        from public.data_sources s
        where s.organization_id = any (organization_ids) and s.is_connected
        group by 1, 2
    ) d on d.organization_id = f.organization_id and d.source_type = c.channel
    union all
    select r.organization_id, 'goal', array[r.name, r.channel, r.metric], r.unit, null,
           int4send((r.created_at at time zone g.time_zone)::date - history_from), float8send(r.target::float8), null
    from private.rule_goals(organization_ids) r
    join public.organizations g on g.id = r.organization_id
    union all
    select a.organization_id, 'funnel', array[a.funnel_name, a.step_order::text, a.step_name], null, null,
           string_agg(int4send(a.date - history_from), '' order by a.date),
           string_agg(float8send(a.conversions::float8), '' order by a.date),
           string_agg(float8send(a.visitors::float8), '' order by a.date)
    from public.funnel_analysis a
    join public.funnels u
        on u.organization_id = a.organization_id and u.funnel_name = a.funnel_name and u.version = a.version and u.is_active
    where a.organization_id = any (organization_ids) and a.date >= history_from and a.date < until_date and a.is_final
    group by a.organization_id, a.funnel_name, a.step_order, a.step_name
    union all
    select a.organization_id, 'cohort', array[a.cohort_type, a.period_type, a.period_number::text], null, null,
           string_agg(int4send(a.cohort_date - history_from), '' order by a.cohort_date),
           string_agg(float8send(a.active_users::float8), '' order by a.cohort_date),
           string_agg(float8send(a.cohort_size::float8), '' order by a.cohort_date)
    from public.cohort_analysis a
    where a.organization_id = any (organization_ids) and a.is_complete and a.cohort_date < until_date
      -- Eleven cohorts before the newest, and as many periods as they are followed for.
      and case a.period_type
          when 'week' then a.period_number between 1 and 8 and a.cohort_date >= history_from - 140
          else a.period_number between 1 and 3 and a.cohort_date >= history_from - 460 end
    group by a.organization_id, a.cohort_type, a.period_type, a.period_number
    order by 1, 2, 3
$$;

-- Days of which insights by rules were looked for before what they rest on changed. (Of a new day they are looked for after it, in
-- the same run. The running day is marked when it is over, and not with each of its hours.)
create or replace function private.mark_rule_insights(organization_ids uuid[], buckets timestamptz[]) returns bigint
language sql set search_path = '' set timezone = 'UTC' as $$
    select private.mark_stale('rule_insights', array_agg(l.organization_id), array_agg(l.bucket))
    from (select distinct k.organization_id, k.bucket from unnest(organization_ids, buckets) k (organization_id, bucket)) d
    join public.partition_ledger l
        on l.organization_id = d.organization_id and l.asset = 'rule_insights' and l.bucket = d.bucket and l.status = 'done'
       and l.bucket >= (select min(b) from unnest(buckets) b) and l.bucket <= (select max(b) from unnest(buckets) b)
    join public.organizations o on o.id = d.organization_id and (d.bucket at time zone 'UTC' + interval '1 day') at time zone o.time_zone <= now()
$$;

-- Days that are over and computed and that no run has applied the rules to become stale, so that a sensor requests them: where days of
-- one organisation fail, nothing downstream of them runs, for none of the run's organisations. Not before an organisation was there.
create or replace function private.mark_missing_rule_days(from_time timestamptz, to_time timestamptz) returns bigint
language plpgsql set search_path = '' set timezone = 'UTC' set enable_nestloop = off set jit = off as $$
declare
    marked bigint;
begin
    with missing as materialized (
        select l.organization_id, l.bucket
        from public.partition_ledger l
        join public.organizations o on o.id = l.organization_id and o.is_active
        left join public.partition_ledger r
            on r.organization_id = l.organization_id and r.asset = 'rule_insights' and r.bucket = l.bucket
           and r.bucket >= from_time and r.bucket < to_time
        where l.asset = 'daily_aggregates' and l.status = 'done' and l.bucket >= from_time and l.bucket < to_time
          and l.bucket >= date_trunc('day', o.created_at) and r.organization_id is null
          and (l.bucket at time zone 'UTC' + interval '1 day') at time zone o.time_zone <= l.computed_at
          -- The run that computed it may still be under way.
          and l.computed_at < now() - interval '1 hour'
    )
    insert into public.partition_ledger (organization_id, asset, bucket, status, next_attempt_at)
    select m.organization_id, 'rule_insights', m.bucket, 'stale', now()
    from missing m
    join unnest(private.hold_organizations(array(select distinct n.organization_id from missing n))) as h (id) on h.id = m.organization_id
    order by 1, 3
    on conflict do nothing;
    get diagnostics marked = row_count;
    return marked;
end $$;
