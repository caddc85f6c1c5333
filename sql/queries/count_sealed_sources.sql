select count(*) filter (where s.connection_config #>> '{$secrets,kid}' = %(key_id)s) as current, count(*) as sealed
from public.data_sources s where s.is_connected
