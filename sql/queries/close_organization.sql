select private.close_organization(%(organization_id)s)
