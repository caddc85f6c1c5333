select private.store_import(%(organization_id)s, %(table_name)s) as stored
