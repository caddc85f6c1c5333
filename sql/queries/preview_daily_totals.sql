select o.slug as organization, a.channel, a.metric,
       case when m.kind = 'sum' then sum(a.value)::text else 'does not add up' end as total,
       count(*) as days, min(a.date)::text as first, max(a.date)::text as last
from public.daily_aggregates a
join public.organizations o on o.id = a.organization_id
join public.metrics m on m.metric = a.metric
where a.organization_id = any (%(ids)s)
  and a.date between (%(start)s::timestamptz at time zone 'UTC')::date and (%(end)s::timestamptz at time zone 'UTC')::date
group by 1, 2, 3, m.kind order by 1, 2, 3 limit 60
