select o.slug as organization, a.details ->> 'rule' as rule, a.message,
       case when a.withdrawn_at is not null then 'withdrawn' when a.is_active then 'active' else 'resolved' end as state,
       to_char(a.fired_bucket, 'YYYY-MM-DD HH24:MI') as fired_utc
from public.performance_alerts a
join public.organizations o on o.id = a.organization_id
where a.organization_id = any (%(ids)s) and a.rule_id is not null
  and (a.is_active or a.fired_bucket >= %(start)s and a.fired_bucket < %(end)s::timestamptz + interval '2 days')
order by a.is_active desc, a.fired_bucket desc, o.slug
limit %(most)s
