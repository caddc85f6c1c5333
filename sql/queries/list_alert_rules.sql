select o.slug as organization, o.time_zone, r.*, a.fired_bucket as active_since
from public.alert_rules r
join public.organizations o on o.id = r.organization_id
left join public.performance_alerts a on a.organization_id = r.organization_id and a.rule_id = r.id and a.is_active
where %(slug)s::text is null or o.slug = %(slug)s
order by o.slug, r.name
