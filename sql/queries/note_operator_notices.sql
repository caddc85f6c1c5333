select private.note_operator_notices(%(channel)s, %(organizations)s::uuid[], %(alerts)s::uuid[], %(states)s::text[], %(problem)s) as noted
