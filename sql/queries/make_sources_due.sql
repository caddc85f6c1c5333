-- Sources of these organisations are due now, whatever time they were given.
update public.data_sources s set next_sync_at = now() where s.organization_id = any (%(ids)s)
