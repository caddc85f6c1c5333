-- Active ones first, then the newest that are over.
select a.alert_type, a.channel, a.metric, a.current_value, a.threshold_value, a.message, a.is_active, a.is_acknowledged, a.acknowledged_by,
       a.acknowledged_at, a.fired_bucket, a.created_at, a.resolved_at, a.withdrawn_at, a.details ->> 'rule' as rule,
       a.details ->> 'grain' as grain, o.time_zone,
       (select count(*) from public.alert_notices n
        where n.organization_id = a.organization_id and n.alert_id = a.id and n.delivered_at is null) as untold
from public.performance_alerts a
join public.organizations o on o.id = a.organization_id
where a.organization_id = %(organization_id)s and (a.is_active or %(all)s)
order by a.is_active desc, coalesce(a.fired_bucket, a.created_at) desc
limit %(most)s
