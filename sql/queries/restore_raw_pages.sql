select private.restore_raw_pages(%(organization_id)s) as stored
