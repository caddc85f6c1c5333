-- Every source with how it fares; without what is sealed. late_by: since when the sync after the last one was to be had.
select o.slug as organization, s.organization_id, s.id, s.source_type, s.source_name, s.account_name,
       s.connection_config - '$secrets' as settings, s.time_zone, s.currency, s.sync_frequency_minutes, s.history_from,
       case when not s.is_connected and s.is_active then 'files'
            when not s.is_connected then 'removed'
            when not s.is_active then 'paused'
            when s.lease_until > now() then 'running'
            when s.failure_kind in ('retry', 'throttled') then 'retrying'
            when s.failure_kind is not null then 'stopped'
            when s.last_sync_at is null then 'new'
            else 'ok' end as status,
       s.last_sync_at, s.failures, s.failure_kind, s.last_error,
       case when s.is_active and s.is_connected and (s.failure_kind is null or s.failure_kind in ('retry', 'throttled'))
            then s.next_sync_at end as next_sync_at,
       case when s.is_active and s.is_connected
            then nullif(greatest(now() - coalesce(s.last_sync_at, s.created_at) - make_interval(mins => s.sync_frequency_minutes),
                                 interval '0'), interval '0') end as late_by
from public.data_sources s
join public.organizations o on o.id = s.organization_id
where %(organization)s::text is null or o.slug = %(organization)s
order by o.slug, s.source_type, s.source_name
