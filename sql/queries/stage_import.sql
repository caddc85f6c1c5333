select private.stage_import(%(table_name)s) as statement
