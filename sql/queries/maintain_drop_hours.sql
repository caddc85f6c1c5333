select 'hourly_facts' as "table", case when c.dropped then 'dropped' else 'stays' end as action, c.partition, c.reason
from public.cleanup_old_hourly_aggregates(%(keep_from)s) c
