select 'hourly_facts' as "table", 'closed' as action, c.partition, null as reason from public.close_hourly_partitions() c
