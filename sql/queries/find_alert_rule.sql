select r.* from public.alert_rules r where r.organization_id = %(organization_id)s and r.name = %(name)s
