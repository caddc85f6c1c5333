-- How the syncs that began since an instant ended, of these organisations. seconds: from that instant to their end.
select o.slug, s.source_type, l.status, l.error_message, l.metadata ->> 'failure_kind' as failure_kind,
       coalesce(l.metadata -> 'flags', '[]') as flags, coalesce((l.metadata ->> 'restarts')::integer, 0) as restarts,
       extract(epoch from l.completed_at - %(since)s)::float as seconds
from public.sync_logs l
join public.organizations o on o.id = l.organization_id
join public.data_sources s on s.organization_id = l.organization_id and s.id = l.data_source_id
where l.started_at >= %(since)s and o.slug = any (%(slugs)s)
