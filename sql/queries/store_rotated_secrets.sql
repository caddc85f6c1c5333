update public.data_sources s
set connection_config = jsonb_set(s.connection_config, '{$secrets}', r.sealed), updated_at = now()
from unnest(%(organization_ids)s::uuid[], %(ids)s::uuid[], %(sealed)s::jsonb[]) as r (organization_id, id, sealed)
where s.organization_id = r.organization_id and s.id = r.id
