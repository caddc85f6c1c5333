select * from private.rule_insight_series(%(ids)s, %(metrics)s, %(history_from)s::date, %(until)s::date)
