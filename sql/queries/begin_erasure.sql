select private.begin_erasure(%(organization_id)s, %(user_ids)s::text[], %(email_hashes)s::bytea[]) as erasure
