select regexp_replace(c.partition, '_[0-9]+$', '') as "table", case when c.dropped then 'dropped' else 'stays' end as action, c.partition, c.reason
from public.cleanup_old_raw_data_backup(%(keep_from)s, %(archived)s::jsonb) c
