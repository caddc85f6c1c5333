select * from public.summarize_events(%(ids)s, %(start)s, %(end)s, %(run_id)s)
