-- Sources as their organisation sees them: without connection_config, which no tenant reads.
create or replace view public.connected_sources with (security_invoker = true) as
select s.organization_id, s.id, s.source_type, s.source_name, s.account_name, s.time_zone, s.currency, s.is_active, s.is_connected,
       s.last_sync_at, s.next_sync_at, s.sync_frequency_minutes, s.sync_status, s.failure_kind, s.last_error, s.created_at, s.updated_at
from public.data_sources s;
