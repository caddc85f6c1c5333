-- The types of source that any of these organisations has.
select distinct s.source_type::text as source_type
from public.data_sources s
where s.organization_id = any (%(organization_ids)s)
