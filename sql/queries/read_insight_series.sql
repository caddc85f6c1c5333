select * from private.insight_series(%(ids)s, %(history_from)s::timestamptz, %(until)s::timestamptz, %(metrics)s)
