select marked from private.remove_funnel(%(organization_id)s, %(name)s)
