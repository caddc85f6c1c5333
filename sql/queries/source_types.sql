-- The types of source that any of these organisations has; events as soon as one was tracked.
select distinct s.source_type::text as source_type
from public.data_sources s
where s.organization_id = any (%(organization_ids)s)
union
select 'events'
where exists (select from public.visitors v where v.organization_id = any (%(organization_ids)s))
