-- New credentials: what the old ones were refused for is over. A sync under way with the old ones loses its lease: its
-- failure would stop the source again.
with cut_off as (
    update public.sync_logs l
    set status = 'failed', completed_at = greatest(now(), l.started_at),
        duration_seconds = greatest(0, extract(epoch from now() - l.started_at))::integer,
        error_message = 'The source was given new credentials; pages that were stored are kept.'
    where l.organization_id = %(organization_id)s and l.data_source_id = %(id)s and l.status = 'started'
      and l.started_at > now() - interval '31 days'
)
update public.data_sources s
set connection_config = %(config)s, lease_owner = null, lease_until = null, failure_kind = null, failures = 0, last_error = null,
    sync_status = case when s.sync_status in ('failed', 'running') then 'idle' else s.sync_status end,
    next_sync_at = now(), updated_at = now()
where s.organization_id = %(organization_id)s and s.id = %(id)s and s.is_connected
