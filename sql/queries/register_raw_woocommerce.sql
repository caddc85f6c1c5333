select * from public.register_raw_pages('woocommerce', %(ids)s, %(start)s, %(end)s, %(run_id)s)
