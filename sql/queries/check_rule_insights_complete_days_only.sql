-- Insights by rules that rest on a day that was not over when they were written, or that was never computed.
select o.slug as organization, i.starts_at as at, format('%%s: its last day %%s', i.title,
           case when i.period_end > i.updated_at then 'was not over' else 'is not computed' end) as problem,
       count(*) over () as found
from public.ai_insights i
join public.organizations o on o.id = i.organization_id and o.is_active
where i.insight_type <> 'anomaly' and i.withdrawn_at is null and i.starts_at is not null
  and i.starts_at >= %(start)s::timestamptz - interval '60 days' and i.starts_at < %(end)s::timestamptz + interval '2 days'
  and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and (i.period_end > i.updated_at
       or not exists (
           select from public.partition_ledger l
           where l.organization_id = i.organization_id and l.asset = 'daily_aggregates' and l.computed_version is not null
             and l.bucket = private.rule_insight_day(i.period_end, o.time_zone)))
order by i.starts_at
limit %(most)s
