-- Grain: version x step, pooled over the range. Both dates are included.
select r.version, r.step_order, min(r.step_name) as step_name, sum(r.visitors)::bigint as visitors,
       sum(r.conversions)::bigint as conversions, count(*) as days, count(*) filter (where not r.is_final) as open_days,
       min(r.date) as first_day, max(r.date) as last_day
from public.funnel_analysis r
where r.organization_id = %(organization_id)s and r.funnel_name = %(name)s and r.date between %(first)s and %(last)s
group by r.version, r.step_order
order by r.version desc, r.step_order
