-- Insights that rest on an hour that is not over, or that was never computed.
select o.slug as organization, i.starts_at as at, format('%%s: its hour %%s', i.title,
           case when i.starts_at + interval '1 hour' > i.updated_at then 'was not over' else 'is not computed' end) as problem,
       count(*) over () as found
from public.ai_insights i
join public.organizations o on o.id = i.organization_id and o.is_active
where i.insight_type = 'anomaly' and i.withdrawn_at is null
  and i.starts_at >= %(start)s::timestamptz - interval '3 days' and i.starts_at < %(end)s
  and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and (i.starts_at + interval '1 hour' > i.updated_at
       or not exists (
           select from public.partition_ledger l
           where l.organization_id = i.organization_id and l.asset = 'hourly_aggregates' and l.computed_version is not null
             and l.bucket = date_trunc('hour', i.starts_at)))
order by i.starts_at
limit %(most)s
