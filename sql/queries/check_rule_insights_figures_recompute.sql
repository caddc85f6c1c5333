-- Insights by rules with a figure that the tables do not bear out. Each figure says what it counts: days of a metric, of one channel
-- or of several together, of a funnel's step, or cohorts at an age. Days that changed since wait for their run; those that have left
-- by retention are not judged.
with judged as (
    select o.slug, i.organization_id, i.starts_at, i.title, c.*
    from public.ai_insights i
    join public.organizations o on o.id = i.organization_id and o.is_active
    cross join lateral jsonb_to_recordset(i.data_points -> 'counts') as c (
        source text, channel text, channels text[], metric text, funnel text, step integer, cohort_type text, period_type text, age integer,
        "column" text, value numeric, "from" date, "to" date)
    where i.insight_type <> 'anomaly' and i.withdrawn_at is null and i.starts_at is not null
      and i.starts_at >= %(start)s::timestamptz - interval '60 days' and i.starts_at < %(end)s::timestamptz + interval '2 days'
      and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
      and (c.source <> 'daily' or c."from" >= coalesce((select (s.dropped_to at time zone 'UTC')::date + 1 from private.partition_steps s
                                                        where s.parent = 'daily_facts'), '-infinity'))
      and not exists (
          select from public.partition_ledger l
          where l.organization_id = i.organization_id and l.status <> 'done'
            and l.asset in ('rule_insights', 'daily_aggregates', 'funnel_analysis', 'cohort_analysis')
            and l.bucket >= least(c."from"::timestamp at time zone 'UTC', i.period_start - interval '1 day') and l.bucket < i.period_end)
), counted as (
    select j.*, coalesce(case j.source
        when 'daily' then (
            select sum(f.value)
            from public.daily_facts f
            join public.metrics m on m.metric_id = f.metric_id and m.metric = j.metric
            join public.channels c on c.channel_id = f.channel_id
            where f.organization_id = j.organization_id and f.date between j."from" and j."to"
              and c.channel = any (coalesce(j.channels, array[j.channel])))
        when 'funnel' then (
            select sum(case j."column" when 'visitors' then a.visitors else a.conversions end)
            from public.funnel_analysis a
            join public.funnels u
                on u.organization_id = a.organization_id and u.funnel_name = a.funnel_name and u.version = a.version
            where a.organization_id = j.organization_id and a.funnel_name = j.funnel and a.step_order = j.step
              and a.date between j."from" and j."to" and a.is_final)
        when 'cohort' then (
            select sum(case j."column" when 'cohort_size' then a.cohort_size else a.active_users end)
            from public.cohort_analysis a
            where a.organization_id = j.organization_id and a.cohort_type = j.cohort_type and a.period_type = j.period_type
              and a.period_number = j.age and a.cohort_date between j."from" and j."to" and a.is_complete)
        end, 0) as total
    from judged j
)
select c.slug as organization, c.starts_at as at,
       format('%%s: says %%s (%%s from %%s to %%s), the tables add up to %%s', c.title, c.value, coalesce(c.metric, c."column"),
              c."from", c."to", c.total) as problem, count(*) over () as found
from counted c
where abs(c.value - c.total) > 0.01 + abs(c.total) * 1e-9
order by abs(c.value - c.total) desc
limit %(most)s
