update public.data_sources
set connection_config = jsonb_set(connection_config, '{$secrets}', %(sealed)s), updated_at = now()
where organization_id = %(organization_id)s and id = %(id)s
