-- Every live source of active organisations, the latest ones last: whether it is up to date by its own frequency.
-- late: its last complete sync is more than two of its periods ago (or it never had one since it was added).
select o.slug as organization, s.source_type, s.source_name, s.id, s.organization_id, s.is_active, s.sync_status,
       s.sync_frequency_minutes, s.last_sync_at, s.next_sync_at, s.failures, s.failure_kind, s.last_error,
       s.time_zone, s.currency, s.account_name, s.lease_until,
       greatest(interval '0', now() - coalesce(s.last_sync_at, s.created_at) - make_interval(mins => 2 * s.sync_frequency_minutes)) as late_by
from public.data_sources s
join public.organizations o on o.id = s.organization_id and o.is_active
where s.is_connected and (%(slugs)s::text[] is null or o.slug = any (%(slugs)s))
order by late_by desc, s.failures desc, o.slug, s.source_type, s.source_name
limit %(most)s
