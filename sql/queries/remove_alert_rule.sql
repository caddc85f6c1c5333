with removed as (
    delete from public.alert_rules r where r.organization_id = %(organization_id)s and r.name = %(name)s returning r.organization_id, r.id
)
select private.end_alerts_of_rules(d.organization_id, array[d.id]) as ended from removed d
