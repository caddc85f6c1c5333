select 'raw_data_backup' as "table", case when c.dropped then 'dropped' else 'stays' end as action, c.partition, c.reason
from public.cleanup_old_raw_data_backup(%(keep_from)s) c
