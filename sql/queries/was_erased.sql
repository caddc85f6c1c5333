select private.was_erased(%(organization_id)s, %(user_ids)s::text[], %(email_hashes)s::bytea[]) as was_erased
