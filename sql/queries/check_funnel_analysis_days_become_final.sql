select o.slug as organization, r.date as at, format('%%s: its window ended %%s UTC, and it is not final', r.funnel_name,
       to_char(x.final_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI')) as problem, count(*) over () as found
from public.funnel_analysis r
join public.organizations o on o.id = r.organization_id and o.is_active
join public.funnels f on f.organization_id = r.organization_id and f.funnel_name = r.funnel_name and f.is_active
cross join lateral (
    select (r.date + 1)::timestamp at time zone o.time_zone + f.window_seconds * interval '1 second' as final_at
) x
join public.partition_ledger l
    on l.organization_id = r.organization_id and l.asset = 'funnel_analysis' and l.bucket = r.date::timestamp at time zone 'UTC'
   and l.status = 'done'
where r.step_order = 1 and not r.is_final and x.final_at < now() - interval '1 day'
  and (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and r.date >= (%(start)s::timestamptz at time zone 'UTC')::date and r.date < (%(end)s::timestamptz at time zone 'UTC')::date
  and r.date::timestamp at time zone o.time_zone >= private.events_kept_of(o.id)
order by r.date, o.slug, r.funnel_name
limit %(most)s
