select count(*) as funnels from public.funnels where organization_id = any (%(organization_ids)s) and is_active
