select * from public.register_raw_pages(
    %(source_type)s, %(ids)s, %(start)s, %(end)s, %(run_id)s, %(failed_ids)s::uuid[], %(failed_reasons)s::text[])
