-- Paused: no sync begins; one under way ends. Resumed: due at once, whatever stopped it before.
update public.data_sources s
set is_active = %(is_active)s, updated_at = now(),
    next_sync_at = case when %(is_active)s then now() else s.next_sync_at end,
    failure_kind = case when %(is_active)s then null else s.failure_kind end,
    failures = case when %(is_active)s then 0 else s.failures end,
    last_error = case when %(is_active)s then null else s.last_error end,
    sync_status = case when %(is_active)s and s.sync_status = 'failed' then 'idle' else s.sync_status end
where s.organization_id = %(organization_id)s and s.id = %(id)s and s.is_connected
