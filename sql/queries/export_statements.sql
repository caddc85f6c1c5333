select table_name, column_names, statement from private.export_statements(%(organization_id)s)
