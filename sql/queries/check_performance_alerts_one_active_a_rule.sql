-- One active alert a rule that is there and switched on; none resolved before it fired.
select o.slug as organization, x.at, x.problem, count(*) over () as found
from (
    select a.organization_id, min(a.fired_bucket) as at, format('%%s active alerts of rule %%s', count(*), min(a.details ->> 'rule')) as problem
    from public.performance_alerts a
    where a.is_active and a.rule_id is not null
    group by a.organization_id, a.rule_id
    having count(*) > 1
    union all
    select a.organization_id, a.fired_bucket, format('active, and its rule %%s is removed or switched off', a.details ->> 'rule')
    from public.performance_alerts a
    left join public.alert_rules r on r.organization_id = a.organization_id and r.id = a.rule_id
    where a.is_active and a.rule_id is not null
      -- One that was switched off since the last run ends with the next.
      and (r.id is null or not r.is_active and r.updated_at < now() - interval '3 hours')
    union all
    select a.organization_id, a.fired_bucket, format('rule %%s cleared in %%s, before it fired', a.details ->> 'rule', a.cleared_bucket)
    from public.performance_alerts a
    where a.cleared_bucket <= a.fired_bucket and a.withdrawn_at is null
) x
join public.organizations o on o.id = x.organization_id
where (%(keys)s::text[] is null or o.partition_key = any (%(keys)s))
  and %(start)s::timestamptz < %(end)s::timestamptz
order by 2, 1
limit %(most)s
