-- What readers read: the plan's tables with the plan's columns, over facts that keep channel and metric as numbers.
-- id is derived from the key (stable, not stored); created_at and updated_at tell when this value was written.
-- (Left joins by primary key: the server leaves out those of whose columns a statement asks none, and their policies with them.
-- A check of the facts sees to it that each has its organisation, metric and channel.)
create or replace view public.hourly_aggregates with (security_invoker = true) as
select md5(f.organization_id::text || c.channel || m.metric || extract(epoch from f."timestamp"))::uuid as id,
       f.organization_id, c.channel::varchar(50) as channel, m.metric::varchar(100) as metric, f.value, f."timestamp",
       jsonb_strip_nulls(jsonb_build_object('unit', m.unit, 'currency', case when m.unit = 'money' then o.currency end))
           as metadata,
       f.updated_at as created_at, f.updated_at
from public.hourly_facts f
left join public.metrics m using (metric_id)
left join public.channels c using (channel_id)
left join public.organizations o on o.id = f.organization_id;

create or replace view public.daily_aggregates with (security_invoker = true) as
select md5(f.organization_id::text || c.channel || m.metric || f.date)::uuid as id,
       f.organization_id, c.channel::varchar(50) as channel, m.metric::varchar(100) as metric, f.value, f.date,
       jsonb_strip_nulls(jsonb_build_object('unit', m.unit, 'currency', case when m.unit = 'money' then o.currency end))
           as metadata,
       f.updated_at as created_at, f.updated_at
from public.daily_facts f
left join public.metrics m using (metric_id)
left join public.channels c using (channel_id)
left join public.organizations o on o.id = f.organization_id;

-- Ratios at any grain: sums of the parts first, one division last. Restrict grain, organization_id and period_start.
-- Hours and days from their own facts; weeks begin on Monday, months on the first, in the organisation's days.
create or replace view public.metric_ratios with (security_invoker = true) as
select p.organization_id, c.channel::varchar(50) as channel, r.metric::varchar(100) as metric, p.grain, p.period_start,
       p.numerator, p.denominator,
       r.scale * (case when r.numerator_minus then p.denominator - p.numerator else p.numerator end)
           / nullif(p.denominator, 0) as value
from (
    select 'hour' as grain, f.organization_id, f.channel_id, r.metric_id, f."timestamp" as period_start,
           coalesce(sum(f.value) filter (where f.metric_id = n.metric_id), 0) as numerator,
           coalesce(sum(f.value) filter (where f.metric_id = d.metric_id), 0) as denominator
    from public.metrics r
    join public.metrics n on n.metric = r.numerator
    join public.metrics d on d.metric = r.denominator
    join public.hourly_facts f on f.metric_id in (n.metric_id, d.metric_id)
    where r.kind = 'ratio' and n.hourly and d.hourly
    group by f.organization_id, f.channel_id, r.metric_id, f."timestamp"
    union all
    select g.grain, f.organization_id, f.channel_id, r.metric_id,
           date_trunc(g.grain, f.date::timestamp) at time zone o.time_zone,
           coalesce(sum(f.value) filter (where f.metric_id = n.metric_id), 0),
           coalesce(sum(f.value) filter (where f.metric_id = d.metric_id), 0)
    from public.metrics r
    join public.metrics n on n.metric = r.numerator
    join public.metrics d on d.metric = r.denominator
    join public.daily_facts f on f.metric_id in (n.metric_id, d.metric_id)
    join public.organizations o on o.id = f.organization_id
    cross join (values ('day'), ('week'), ('month')) g (grain)
    -- A distinct count does not add up over days.
    where r.kind = 'ratio' and (g.grain = 'day' or (n.kind = 'sum' and d.kind = 'sum'))
    group by g.grain, f.organization_id, f.channel_id, r.metric_id, date_trunc(g.grain, f.date::timestamp) at time zone o.time_zone
) p
join public.metrics r using (metric_id)
join public.channels c using (channel_id);
