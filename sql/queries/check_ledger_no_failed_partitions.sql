-- Organisations of which buckets of this asset are left failed, whenever they are; by how many.
-- (Whatever the run's range: what failed last week is left over still.)
with failed as (
    select o.slug, count(*) as buckets, min(l.bucket) as first_bucket, max(l.bucket) as last_bucket,
           min(l.next_attempt_at) as next_attempt_at, (array_agg(l.error order by l.bucket))[1] as first_error
    from public.partition_ledger l
    join public.organizations o on o.id = l.organization_id and o.is_active
    where l.status = 'failed' and l.asset = %(asset)s
      and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s)) and %(start)s::timestamptz < %(end)s::timestamptz
    group by o.slug
)
select f.slug as organization, f.first_bucket as at,
       format('%%s failed, the last %%s UTC: %%s. Tried again by itself%%s; at once by '
              '`analytics backfill --organization %%s --from %%s --to %%s --assets %%s`', f.buckets,
              to_char(f.last_bucket, 'YYYY-MM-DD HH24:MI'), left(f.first_error, 300),
              coalesce(' after ' || to_char(f.next_attempt_at, 'YYYY-MM-DD HH24:MI') || ' UTC', ''), f.slug,
              -- Local days, which may begin up to half a day before or after those of UTC.
              (f.first_bucket - interval '14 hours')::date, (f.last_bucket + interval '14 hours')::date + 1, %(asset)s::text) as problem,
       sum(f.buckets) over ()::bigint as found
from failed f
order by f.buckets desc, f.slug
limit %(most)s
