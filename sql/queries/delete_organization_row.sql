select private.delete_organization_row(%(organization_id)s) as deleted
