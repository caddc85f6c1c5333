-- A new source; or one without credentials (removed, or made for files) is connected, and keeps its id and its facts.
insert into public.data_sources as s
    (organization_id, id, source_type, source_name, connection_config, time_zone, currency, account_name,
     sync_frequency_minutes, history_from)
values (%(organization_id)s, %(id)s, %(source_type)s, %(source_name)s, %(config)s, %(time_zone)s, %(currency)s, %(account_name)s,
        %(frequency_minutes)s, %(history_from)s)
on conflict (organization_id, id) do update
set connection_config = excluded.connection_config, account_name = excluded.account_name, history_from = excluded.history_from,
    sync_frequency_minutes = excluded.sync_frequency_minutes, is_active = true, sync_status = 'idle', failure_kind = null,
    failures = 0, last_error = null, last_sync_at = null, reread_at = null, reread_due_at = null, next_sync_at = now(),
    updated_at = now()
where not s.is_connected
