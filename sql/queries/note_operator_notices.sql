select private.note_operator_notices(%(channel)s, %(alerts)s::uuid[], %(states)s::text[], %(problem)s) as noted
