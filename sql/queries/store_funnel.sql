select * from private.store_funnel(%(organization_id)s, %(name)s, %(seconds)s, %(unit)s, %(steps)s)
