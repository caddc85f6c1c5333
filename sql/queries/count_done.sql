select count(*) filter (where asset = any (%(hour_assets)s) and bucket >= %(start)s and bucket < %(end)s) as hours,
       count(*) filter (where asset = any (%(day_assets)s)
           and (bucket at time zone 'UTC')::date >= %(first)s::date and (bucket at time zone 'UTC')::date < %(last)s::date) as days
from public.partition_ledger
where organization_id = %(organization_id)s and status = 'done'
