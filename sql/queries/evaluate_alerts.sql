select * from private.evaluate_alerts(
    %(ids)s, (%(start)s::timestamptz at time zone 'UTC')::date, (%(end)s::timestamptz at time zone 'UTC')::date - 1, %(run_id)s, %(told_by)s)
