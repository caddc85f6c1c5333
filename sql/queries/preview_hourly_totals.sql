select o.slug as organization, a.channel, a.metric, sum(a.value)::text as total, count(*) as hours,
       to_char(min(a."timestamp"), 'YYYY-MM-DD HH24:MI') as first, to_char(max(a."timestamp"), 'YYYY-MM-DD HH24:MI') as last
from public.hourly_aggregates a
join public.organizations o on o.id = a.organization_id
where a.organization_id = any (%(ids)s) and a."timestamp" >= %(start)s and a."timestamp" < %(end)s::timestamptz + interval '1 hour'
group by 1, 2, 3 order by 1, 2, 3 limit 60
