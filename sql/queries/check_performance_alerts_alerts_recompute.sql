-- What every active alert says of its newest bucket, read again from the tables that tenants read, written apart from the pipeline; and
-- that this is not on the clear side of its rule. Organisations with a day that is still to be judged are left out.
with said as materialized (
    select a.organization_id, o.slug, o.time_zone, a.channel, a.metric, a.current_value, a.details, (a.details ->> 'bucket')::timestamptz as bucket,
           (a.details ->> 'value')::numeric as value, a.details ->> 'grain' as grain, r.kind, r.threshold, r.clear_threshold, m.kind as metric_kind, r.name
    from public.performance_alerts a
    join public.organizations o on o.id = a.organization_id
    join public.alert_rules r on r.organization_id = a.organization_id and r.id = a.rule_id and r.is_active
    join public.metrics m on m.metric = a.metric
    where a.is_active and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
      and (a.details ->> 'bucket')::timestamptz >= %(start)s::timestamptz - interval '31 days'
      and not exists (select from public.partition_ledger l
                      where l.organization_id = a.organization_id and l.status <> 'done'
                        and l.asset in ('performance_alerts', 'daily_aggregates', 'hourly_aggregates'))
), parts as (
    select s.*, m.numerator, m.denominator, m.numerator_minus, m.scale, coalesce(m.numerator, m.metric) as counted
    from said s
    join public.metrics m on m.metric = s.metric
), again as (
    select p.*, case
        when p.grain = 'hour' then (
            select sum(h.value) from public.hourly_aggregates h
            where h.organization_id = p.organization_id and h.metric = p.counted and p.channel in (h.channel, 'all')
              and h."timestamp" >= p.bucket and h."timestamp" < p.bucket + interval '1 hour')
        else (
            select sum(d.value) from public.daily_aggregates d
            where d.organization_id = p.organization_id and d.metric = p.counted and p.channel in (d.channel, 'all')
              and d.date <= (p.bucket at time zone 'UTC')::date
              and d.date >= case p.kind when 'goal' then date_trunc('month', p.bucket at time zone 'UTC')::date else (p.bucket at time zone 'UTC')::date end)
        end as top,
        case
        when p.grain = 'hour' then (
            select sum(h.value) from public.hourly_aggregates h
            where h.organization_id = p.organization_id and h.metric = p.denominator and p.channel in (h.channel, 'all')
              and h."timestamp" >= p.bucket and h."timestamp" < p.bucket + interval '1 hour')
        else (
            select sum(d.value) from public.daily_aggregates d
            where d.organization_id = p.organization_id and d.metric = p.denominator and p.channel in (d.channel, 'all')
              and d.date = (p.bucket at time zone 'UTC')::date)
        end as bottom
    from parts p
), judged as (
    select g.*, case when g.metric_kind = 'ratio'
                     then g.scale * (case when g.numerator_minus then coalesce(g.bottom, 0) - coalesce(g.top, 0) else coalesce(g.top, 0) end) / nullif(g.bottom, 0)
                     else coalesce(g.top, 0) end as true_value
    from again g
)
select j.slug as organization, j.bucket as at,
       format('%%s: %%s of %%s is said to be %%s, and is %%s in the tables', j.name, j.metric, j.channel, j.value, j.true_value) as problem,
       count(*) over () as found
from judged j
where j.value is distinct from j.true_value
   or j.kind in ('above', 'below') and j.current_value is distinct from j.value
   or case when j.kind = 'above' or j.kind = 'change' and j.threshold > 0 then j.current_value <= j.clear_threshold
           else j.current_value >= j.clear_threshold end
order by 2, 1
limit %(most)s
