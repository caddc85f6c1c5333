select * from private.sync_operator_alerts(%(threshold)s, %(channels)s::text[])
