select connection_config from public.data_sources
where organization_id = %(organization_id)s and id = %(id)s
for update
