with late as (
    select o.slug, s.source_type, s.source_name, s.last_sync_at, s.sync_frequency_minutes, s.failure_kind, s.last_error,
           now() - coalesce(s.last_sync_at, s.created_at) as age
    from public.data_sources s
    join public.organizations o on o.id = s.organization_id and o.is_active
    where s.is_active and s.is_connected
      and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s)) and %(start)s::timestamptz < %(end)s::timestamptz
      and now() - coalesce(s.last_sync_at, s.created_at) > make_interval(mins => 2 * s.sync_frequency_minutes)
)
select slug as organization, last_sync_at as at,
       format('%%s %%s: %%s minutes old, synced every %%s%%s', source_type, source_name, round(extract(epoch from age) / 60),
              sync_frequency_minutes, coalesce(' (' || failure_kind || ': ' || left(last_error, 200) || ')', '')) as problem,
       count(*) over () as found
from late
order by age desc, slug
limit %(most)s
