-- A sync that succeeded has read every stream up to its begin. (A stream is one that any source of the type has read. A nightly
-- re-read covers what a sync does. A report's days may end with the account's day.)
with read as materialized (
    select s.organization_id, s.data_source_id, s.stream, max(s.covered_to) as covered_to
    from public.sync_streams s
    join public.data_sources d on d.organization_id = s.organization_id and d.id = s.data_source_id and d.source_type = %(source)s
    where s.purpose in ('incremental', 'reread')
    group by 1, 2, 3
), streams as (
    select distinct r.stream from read r where r.covered_to is not null
    -- Only the nightly re-read has it: not of every sync.
    and exists (select from public.sync_streams s where s.stream = r.stream and s.purpose = 'incremental' and s.covered_to is not null)
)
select o.slug as organization, s.last_sync_at as at,
       format('%%s: its sync of %%s succeeded, %%s is read until %%s: `analytics sources backfill --organization %%s --type %%s` reads the rest',
              s.source_name, to_char(s.last_sync_at, 'YYYY-MM-DD HH24:MI'), m.stream,
              coalesce(to_char(r.covered_to, 'YYYY-MM-DD HH24:MI'), 'never'), o.slug, s.source_type) as problem,
       count(*) over () as found
from public.data_sources s
join public.organizations o on o.id = s.organization_id and o.is_active
cross join streams m
left join read r on r.organization_id = s.organization_id and r.data_source_id = s.id and r.stream = m.stream
where s.source_type = %(source)s and s.is_active and s.is_connected and s.failure_kind is null and s.last_sync_at is not null
  and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and coalesce(r.covered_to, '-infinity') < least(s.last_sync_at, %(end)s::timestamptz) - interval '26 hours'
  and s.last_sync_at >= %(start)s
order by 2, 1
limit %(most)s
