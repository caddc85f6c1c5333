select private.set_retention(%(organization_id)s, %(layer)s, %(days)s)
