update public.data_sources set is_active = false, sync_status = 'idle', updated_at = now()
where id = any (%(ids)s) and is_active
