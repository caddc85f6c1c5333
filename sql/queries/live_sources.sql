-- Live sources of active organisations, to be chosen from for a sync. (How each fares: public.source_status.)
select s.id, s.source_type, s.is_active, s.time_zone
from public.data_sources s
join public.organizations o on o.id = s.organization_id and o.is_active
where s.is_connected and (%(slugs)s::text[] is null or o.slug = any (%(slugs)s))
order by o.slug, s.source_type, s.source_name
