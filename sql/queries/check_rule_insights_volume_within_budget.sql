-- Organisations that are told more than their budget of new insights by rules on one of their days.
select o.slug as organization, d.day as at, format('%%s new insights, the budget is %%s', d.insights, %(budget)s::integer) as problem,
       count(*) over () as found
from (
    select i.organization_id, i.starts_at as day, count(*) as insights
    from public.ai_insights i
    where i.insight_type <> 'anomaly' and i.withdrawn_at is null
      and i.starts_at >= %(start)s::timestamptz - interval '60 days' and i.starts_at < %(end)s::timestamptz + interval '2 days'
    group by 1, 2
) d
join public.organizations o on o.id = d.organization_id and o.is_active
where d.insights > %(budget)s and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
order by d.insights desc
limit %(most)s
