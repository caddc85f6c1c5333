select count(*) as rules from public.alert_rules where organization_id = any (%(organization_ids)s)
