-- Pooled over the run's days; the funnels with most entries first.
with pooled as (
    select r.organization_id, r.funnel_name, r.version, r.step_order, min(r.step_name) as step_name, count(*) as days,
           count(*) filter (where not r.is_final) as open_days, sum(r.visitors)::bigint as visitors,
           sum(r.conversions)::bigint as conversions
    from public.funnel_analysis r
    where r.organization_id = any (%(ids)s)
      and r.date between (%(start)s::timestamptz at time zone 'UTC')::date and (%(end)s::timestamptz at time zone 'UTC')::date
    group by 1, 2, 3, 4
), ranked as (
    select p.*, max(p.visitors) over (partition by p.organization_id, p.funnel_name, p.version) as entries from pooled p
)
select o.slug as organization, r.funnel_name as funnel, r.version, r.step_order as step, r.step_name as name, r.visitors,
       r.conversions, case when r.visitors > 0 then round(r.conversions::numeric / r.visitors, 4) else 0 end as conversion_rate,
       r.days, r.open_days
from ranked r
join public.organizations o on o.id = r.organization_id
order by r.entries desc, o.slug, r.funnel_name, r.version, r.step_order
limit %(most)s
