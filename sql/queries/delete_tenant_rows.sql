select private.delete_tenant_rows(%(organization_id)s, %(piece)s::oid::regclass) as deleted
