select private.mark_missing_rule_days(%(start)s::timestamptz, %(end)s::timestamptz)
