select o.slug, a.channel, a.metric, a.date as at, a.value
from public.daily_aggregates a
join public.organizations o on o.id = a.organization_id
where a.organization_id = any (%(ids)s) and a.date <= %(last_day)s
