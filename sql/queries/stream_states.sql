select data_source_id, stream, purpose, window_start, window_end, updated_at, position, fetch_id, covered_from, covered_to
from public.sync_streams
where data_source_id = any (%(source_ids)s) and organization_id = any (%(organization_ids)s)
