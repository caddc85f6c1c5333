-- Organisations that are told more than their budget of new anomalies on a day (UTC).
select o.slug as organization, d.day as at, format('%%s new insights, the budget is %%s', d.insights, %(budget)s::integer) as problem,
       count(*) over () as found
from (
    select i.organization_id, date_trunc('day', i.starts_at, 'UTC') as day, count(*) as insights
    from public.ai_insights i
    where i.insight_type = 'anomaly' and i.withdrawn_at is null
      and i.starts_at >= date_trunc('day', %(start)s::timestamptz, 'UTC') and i.starts_at < %(end)s
    group by 1, 2
) d
join public.organizations o on o.id = d.organization_id and o.is_active
where d.insights > %(budget)s and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
order by d.insights desc
limit %(most)s
