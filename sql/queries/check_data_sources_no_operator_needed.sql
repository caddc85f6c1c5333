select o.slug as organization, s.last_sync_at as at,
       format('%%s %%s: %%s: %%s. `analytics sources test --organization %%s --name "%%s"` tells more.', s.source_type, s.source_name,
              s.failure_kind, left(s.last_error, 300), o.slug, s.source_name) as problem,
       count(*) over () as found
from public.data_sources s
join public.organizations o on o.id = s.organization_id and o.is_active
where s.is_active and s.is_connected and s.failure_kind not in ('retry', 'throttled')
  and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s)) and %(start)s::timestamptz < %(end)s::timestamptz
order by s.last_sync_at nulls first, o.slug
limit %(most)s
