-- Alerts that an organisation is told of in a day: more than a reader takes in are rules to be set wider.
select o.slug as organization, x.date as at,
       format('%%s alerts in a day, most often of rule %%s: set its threshold or --confirm wider', x.alerts, x.rule) as problem,
       count(*) over () as found
from (
    select a.organization_id, (a.fired_bucket at time zone 'UTC')::date as date, count(*) as alerts, mode() within group (order by a.details ->> 'rule') as rule
    from public.performance_alerts a
    where a.rule_id is not null and a.withdrawn_at is null and a.fired_bucket >= %(start)s and a.fired_bucket < %(end)s
    group by 1, 2
    having count(*) > %(budget)s
) x
join public.organizations o on o.id = x.organization_id
where %(keys)s::text[] is null or o.partition_key = any (%(keys)s)
order by 2, 1
limit %(most)s
