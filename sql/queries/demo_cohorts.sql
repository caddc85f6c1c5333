-- The newest eight weekly cohorts by first visit, their first weeks.
select c.cohort_date, c.period_number, c.cohort_size, c.retention_rate, c.is_complete
from public.cohort_analysis c
where c.organization_id = %(organization_id)s and c.cohort_type = 'first_visit' and c.period_type = 'week'
  and c.period_number <= 6
  and c.cohort_date >= (select max(k.cohort_date) - 49 from public.cohort_analysis k
                        where k.organization_id = %(organization_id)s and k.cohort_type = 'first_visit' and k.period_type = 'week')
order by c.cohort_date, c.period_number
