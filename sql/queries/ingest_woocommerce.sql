select * from public.ingest_woocommerce(%(ids)s, %(start)s, %(end)s, %(run_id)s)
