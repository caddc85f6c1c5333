select * from public.ingest_orders(%(ids)s, %(start)s, %(end)s, %(run_id)s)
