select 'sync_logs' as "table", 'dropped' as action, c.partition, null as reason
from private.cleanup_sync_logs(%(keep_from)s) c
