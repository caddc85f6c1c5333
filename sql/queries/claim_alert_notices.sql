select * from private.claim_alert_notices(%(channel)s, %(most)s, %(at)s)
