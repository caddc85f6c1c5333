-- Retention of all cohorts together, for dashboards: complete cells only, pooled, so that each cohort weighs by its size.
-- Grain: organisation x cohort type x week or month x period number.
create or replace view public.cohort_retention with (security_invoker = true) as
select a.organization_id, a.cohort_type, a.period_type, a.period_number, count(*)::integer as cohorts,
       sum(a.cohort_size) as cohort_size, sum(a.active_users) as active_users,
       round(sum(a.active_users)::numeric / sum(a.cohort_size), 4) as retention_rate, sum(a.revenue) as revenue
from public.cohort_analysis a
where a.is_complete
group by a.organization_id, a.cohort_type, a.period_type, a.period_number;
