-- The vendor has answered: what waited for an operator goes on. Zone and currency of a source that has data are changed by
-- its sync, which then reads anew what depends on them.
update public.data_sources s
set account_name = coalesce(nullif(%(account_name)s, ''), s.account_name),
    time_zone = case when s.last_sync_at is null and t.is_new then %(time_zone)s else s.time_zone end,
    currency = case when s.last_sync_at is null and t.is_new then %(currency)s else s.currency end,
    failure_kind = case when b.is_blocked then null else s.failure_kind end,
    failures = case when b.is_blocked then 0 else s.failures end,
    last_error = case when b.is_blocked then null else s.last_error end,
    sync_status = case when b.is_blocked and s.sync_status = 'failed' then 'idle' else s.sync_status end,
    next_sync_at = case when b.is_blocked then now() else s.next_sync_at end,
    updated_at = now()
from public.data_sources o
cross join lateral (select o.failure_kind is not null and o.failure_kind not in ('retry', 'throttled') as is_blocked) b
cross join lateral (
    select not exists (
        select from public.sync_streams t where t.organization_id = o.organization_id and t.data_source_id = o.id) as is_new
) t
where o.organization_id = %(organization_id)s and o.id = %(id)s and o.is_connected
  and s.organization_id = o.organization_id and s.id = o.id
returning b.is_blocked as was_blocked
