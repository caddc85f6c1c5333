select private.mark_missing_hours(%(assets)s, %(start)s, %(end)s)
