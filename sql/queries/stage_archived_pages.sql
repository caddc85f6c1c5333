select s.statement, s.column_names from private.stage_archived_pages() s
