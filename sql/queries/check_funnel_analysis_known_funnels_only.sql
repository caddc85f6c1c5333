select o.slug as organization, r.date as at,
       format('%%s: %%s', r.funnel_name,
              case when f.version is null then 'no funnel of that name'
                   when r.version > f.version then format('version %%s, the newest is %%s', r.version, f.version)
                   when not f.is_active then 'it was removed, and the day is computed since'
                   else format('version %%s, and the day is computed since there is version %%s', r.version, f.version) end) as problem,
       count(*) over () as found
from (select distinct a.organization_id, a.funnel_name, a.date, a.version from public.funnel_analysis a
      where a.date >= (%(start)s::timestamptz at time zone 'UTC')::date
        and a.date < (%(end)s::timestamptz at time zone 'UTC')::date) r
join public.organizations o on o.id = r.organization_id
left join public.funnels f on f.organization_id = r.organization_id and f.funnel_name = r.funnel_name
left join public.partition_ledger l
    on l.organization_id = r.organization_id and l.asset = 'funnel_analysis' and l.bucket = r.date::timestamp at time zone 'UTC'
where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  -- A day that is marked is still to be computed anew; one whose events are gone keeps its version.
  and (f.version is null or r.version > f.version
       or (r.version < f.version or not f.is_active) and l.status = 'done'
          and r.date::timestamp at time zone o.time_zone >= private.events_kept_of(o.id))
order by r.date, o.slug, r.funnel_name
limit %(most)s
