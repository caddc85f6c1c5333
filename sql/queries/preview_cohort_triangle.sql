-- The newest monthly cohorts of the run's largest organisations, each of the cohort type that has most members there.
with sizes as (
    select a.organization_id, a.cohort_type, sum(a.cohort_size) as members
    from public.cohort_analysis a
    where a.organization_id = any (%(ids)s) and a.period_type = 'month' and a.period_number = 0
    group by 1, 2
), largest as (
    select distinct on (s.organization_id) s.organization_id, s.cohort_type, s.members
    from sizes s
    order by s.organization_id, s.members desc, s.cohort_type
), chosen as (
    select * from largest order by members desc, organization_id limit %(most)s
)
select o.slug as organization, a.cohort_type, a.cohort_date, a.period_number, a.cohort_size, a.retention_rate, a.is_complete
from chosen c
join public.organizations o on o.id = c.organization_id
join public.cohort_analysis a
    on a.organization_id = c.organization_id and a.cohort_type = c.cohort_type and a.period_type = 'month'
where a.period_number < %(periods)s
  and a.cohort_date in (
      select b.cohort_date from public.cohort_analysis b
      where b.organization_id = c.organization_id and b.cohort_type = c.cohort_type and b.period_type = 'month'
        and b.period_number = 0
      order by b.cohort_date desc limit %(cohorts)s)
order by c.members desc, o.slug, a.cohort_date, a.period_number
