select o.slug, a.channel, a.metric, a."timestamp" as at, a.value
from public.hourly_aggregates a
join public.organizations o on o.id = a.organization_id
where a.organization_id = any (%(ids)s)
