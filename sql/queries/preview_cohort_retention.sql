-- Pooled retention of a run's organisations: complete cells only, weighted by size.
select a.cohort_type, a.period_type, a.period_number, count(distinct a.organization_id) as organizations,
       count(*) as cohorts, sum(a.cohort_size)::bigint as cohort_size, sum(a.active_users)::bigint as active_users,
       round(sum(a.active_users)::numeric / sum(a.cohort_size), 4)::text as retention_rate
from public.cohort_analysis a
where a.organization_id = any (%(ids)s) and a.is_complete and a.period_number <= 6
group by 1, 2, 3
order by 1, 2 desc, 3
