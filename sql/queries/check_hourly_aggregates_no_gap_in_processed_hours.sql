with seen as (
    select l.organization_id, min(l.bucket) filter (where l.status = 'done') as first_hour,
           max(l.bucket) filter (where l.status = 'done') as last_hour,
           count(*) filter (where l.status = 'done' or l.computed_version is not null) as computed
    from public.partition_ledger l
    where l.asset = 'hourly_aggregates' and l.bucket >= %(end)s::timestamptz - interval '31 days' and l.bucket < %(end)s
    group by 1
), gaps as (
    select s.*, (extract(epoch from s.last_hour - s.first_hour) / 3600 + 1)::bigint - s.computed as missing
    from seen s
)
select o.slug as organization, g.first_hour as at,
       format('%%s hours between %%s and %%s are not computed: `analytics backfill --organization %%s --from %%s --to %%s`',
              g.missing, to_char(g.first_hour, 'YYYY-MM-DD HH24:MI'), to_char(g.last_hour, 'YYYY-MM-DD HH24:MI'), o.slug,
              to_char(g.first_hour, 'YYYY-MM-DD'), to_char(g.last_hour + interval '1 day', 'YYYY-MM-DD')) as problem,
       count(*) over () as found
from gaps g
join public.organizations o on o.id = g.organization_id
where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s)) and g.missing > 0 and %(start)s is not null
order by g.missing desc, o.slug
limit %(most)s
