with days as (
    select o.slug, r.organization_id, r.funnel_name, r.date, r.step_order, r.visitors, r.conversions, r.version,
           count(*) over w as steps, max(r.step_order) over w as last_step, min(r.version) over w as least_version,
           max(r.version) over w as greatest_version,
           lead(r.visitors) over (partition by r.organization_id, r.funnel_name, r.date order by r.step_order) as next_visitors
    from public.funnel_analysis r
    join public.organizations o on o.id = r.organization_id
    where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
      and r.date >= (%(start)s::timestamptz at time zone 'UTC')::date and r.date < (%(end)s::timestamptz at time zone 'UTC')::date
    window w as (partition by r.organization_id, r.funnel_name, r.date)
), wrong as (
    select d.slug, d.date, d.funnel_name,
           case when d.least_version <> d.greatest_version then 'steps of several versions'
                when d.steps <> d.last_step or f.version = d.version and d.last_step <> jsonb_array_length(f.steps)
                    then format('%%s of %%s steps are there', d.steps,
                                case when f.version = d.version then jsonb_array_length(f.steps) else d.last_step end)
                when d.step_order = 1 and d.visitors = 0 then 'a day without an entry'
                when d.step_order < d.last_step and d.conversions is distinct from d.next_visitors
                    then format('step %%s: %%s go on, %%s reach the next', d.step_order, d.conversions, d.next_visitors)
                when d.step_order = d.last_step and d.conversions <> d.visitors
                    then format('last step: %%s reach it, %%s complete it', d.visitors, d.conversions) end as problem
    from days d
    left join public.funnels f on f.organization_id = d.organization_id and f.funnel_name = d.funnel_name
)
select w.slug as organization, w.date as at, format('%%s: %%s', w.funnel_name, w.problem) as problem, count(*) over () as found
from (select distinct slug, date, funnel_name, problem from wrong where problem is not null) w
order by w.date, w.slug, w.funnel_name
limit %(most)s
