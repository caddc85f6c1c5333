-- The credentials go, and how far each stream had come; the row stays, since facts belong to it. A sync under way loses its
-- lease, and so stores nothing more.
with cut_off as (
    update public.sync_logs l
    set status = 'failed', completed_at = greatest(now(), l.started_at),
        duration_seconds = greatest(0, extract(epoch from now() - l.started_at))::integer, error_message = 'The source was removed.'
    where l.organization_id = %(organization_id)s and l.data_source_id = %(id)s and l.status = 'started'
      and l.started_at > now() - interval '31 days'
), forgotten as (
    delete from public.sync_streams t where t.organization_id = %(organization_id)s and t.data_source_id = %(id)s
)
update public.data_sources s
set connection_config = s.connection_config - '$secrets', is_active = false, lease_owner = null, lease_until = null,
    sync_status = 'idle', failure_kind = null, failures = 0, last_error = null, reread_due_at = null, updated_at = now()
where s.organization_id = %(organization_id)s and s.id = %(id)s
