select * from public.aggregate_hourly_data(%(ids)s, %(start)s, %(end)s, %(run_id)s)
