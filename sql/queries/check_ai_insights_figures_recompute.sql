-- Insights whose actual figure is not the sum of their metric's hours; hours changed since the insight was written are being
-- computed anew, and those that have left by retention cannot be summed.
with judged as (
    select o.slug, i.starts_at, i.title, (i.data_points ->> 'actual')::numeric as said, coalesce(s.total, 0) as total
    from public.ai_insights i
    join public.organizations o on o.id = i.organization_id and o.is_active
    left join lateral (
        select sum(f.value) as total, max(f.updated_at) as changed_at
        from public.hourly_facts f
        join public.metrics m on m.metric_id = f.metric_id and m.metric = i.data_points ->> 'metric'
        join public.channels c on c.channel_id = f.channel_id and c.channel = i.data_points ->> 'channel'
        where f.organization_id = i.organization_id and f."timestamp" >= i.period_start and f."timestamp" < i.period_end
    ) s on true
    where i.insight_type = 'anomaly' and i.withdrawn_at is null
      and i.starts_at >= %(start)s::timestamptz - interval '3 days' and i.starts_at < %(end)s
      and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
      and i.period_start >= coalesce((select s.dropped_to from private.partition_steps s where s.parent = 'hourly_facts'), '-infinity')
      and not exists (
          select from public.partition_ledger l
          where l.organization_id = i.organization_id and l.asset in ('hourly_aggregates', 'ai_insights') and l.status <> 'done'
            and l.bucket >= date_trunc('hour', i.period_start) and l.bucket < i.period_end)
)
select j.slug as organization, j.starts_at as at,
       format('%%s: says %%s, the hours add up to %%s', j.title, j.said, j.total) as problem, count(*) over () as found
from judged j
where abs(j.said - j.total) > 0.01 + abs(j.total) * 1e-9
order by abs(j.said - j.total) desc
limit %(most)s
