select (min(window_start) at time zone %(time_zone)s)::date as first,
       (max(window_end - interval '15 minutes') at time zone %(time_zone)s)::date as last
from public.raw_data_backup
where organization_id = %(organization_id)s and stream in ('orders', 'refunds')
