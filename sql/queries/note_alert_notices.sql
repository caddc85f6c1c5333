select private.note_alert_notices(%(channel)s, %(organizations)s, %(alerts)s, %(transitions)s, %(problem)s) as noted
