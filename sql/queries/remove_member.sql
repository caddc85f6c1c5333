select private.remove_member(%(organization_id)s, %(user_id)s, %(force)s) as outcome
