select * from private.store_insights(
    %(ids)s, %(start)s::timestamptz, %(end)s::timestamptz, %(judged_from)s::timestamptz, %(judged_to)s::timestamptz,
    %(states)s::jsonb, %(found)s::jsonb, %(run_id)s)
