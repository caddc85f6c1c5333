select table_name, from_at::text as from_at, to_at::text as to_at from private.erasure_pieces(%(organization_id)s)
