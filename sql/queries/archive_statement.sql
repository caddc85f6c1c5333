select s.statement, s.column_names from private.archive_statement(%(period_start)s, %(period_end)s) s
