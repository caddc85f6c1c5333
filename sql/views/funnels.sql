-- Funnels for dashboards: the last 7 and the last 30 days that are final, pooled: sums first, one division last. Grain:
-- organisation x funnel x step x days (7, 30). A day without entries counts as none; days of an older version are left out.
create or replace view public.funnel_overview with (security_invoker = true) as
select f.organization_id, f.funnel_name, s.number::integer as step_order, (s.step ->> 'name')::varchar(100) as step_name,
       f.unit, f.window_seconds, f.version, p.days, d.last_date - p.days + 1 as first_date, d.last_date,
       coalesce(a.visitors, 0) as visitors, coalesce(a.conversions, 0) as conversions,
       coalesce(round(a.conversions::numeric / nullif(a.visitors, 0), 4), 0) as conversion_rate,
       coalesce(round(a.visitors::numeric / nullif(a.entries, 0), 4), 0) as overall_rate
from public.funnels f
join public.organizations o on o.id = f.organization_id
cross join lateral jsonb_array_elements(f.steps) with ordinality as s (step, number)
cross join (values (7), (30)) as p (days)
cross join lateral (
    select ((now() - f.window_seconds * interval '1 second') at time zone o.time_zone)::date - 1 as last_date
) d
cross join lateral (
    select sum(r.visitors) filter (where r.step_order = s.number) as visitors,
           sum(r.conversions) filter (where r.step_order = s.number) as conversions,
           sum(r.visitors) filter (where r.step_order = 1) as entries
    from public.funnel_analysis r
    where r.organization_id = f.organization_id and r.funnel_name = f.funnel_name and r.version = f.version and r.is_final
      and r.date > d.last_date - p.days and r.date <= d.last_date and r.step_order in (1, s.number)
) a
where f.is_active;
