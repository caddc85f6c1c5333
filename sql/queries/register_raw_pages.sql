select * from public.register_raw_pages(%(source)s, %(ids)s, %(start)s, %(end)s, %(run_id)s)
