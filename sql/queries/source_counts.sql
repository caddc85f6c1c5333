select count(*) filter (where s.is_active and s.next_sync_at <= now() and s.lease_owner is null
                          and (s.failure_kind is null or s.failure_kind in ('retry', 'throttled'))) as due,
       count(*) filter (where s.is_active and s.reread_due_at <= now() and s.lease_owner is null and s.failures = 0) as reread_due,
       count(*) filter (where s.lease_owner is not null and s.lease_until >= now()) as running,
       count(*) filter (where private.is_dead_lease(s.lease_until)
                          or (s.is_active and s.lease_owner is null and (s.failure_kind is null or s.failure_kind in ('retry', 'throttled'))
                              and (private.is_too_far(s.next_sync_at, s.sync_frequency_minutes) or private.is_too_far(s.reread_due_at, s.sync_frequency_minutes)))) as dead,
       count(*) filter (where s.is_active and s.failure_kind is null and s.last_sync_at is not null) as healthy,
       count(*) filter (where s.is_active and s.failure_kind in ('retry', 'throttled')) as retrying,
       count(*) filter (where s.is_active and s.failure_kind not in ('retry', 'throttled')) as waiting_for_operator,
       count(*) filter (where not s.is_active) as paused,
       count(*) as sources
from public.data_sources s
join public.organizations o on o.id = s.organization_id and o.is_active
where s.is_connected
