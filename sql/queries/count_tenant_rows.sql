select table_name, row_count from private.count_tenant_rows(%(organization_id)s)
