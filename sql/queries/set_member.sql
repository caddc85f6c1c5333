select private.set_member(%(organization_id)s, %(user_id)s, %(role)s, %(force)s) as outcome
