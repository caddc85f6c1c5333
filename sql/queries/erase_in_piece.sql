select private.erase_in_piece(%(organization_id)s, %(erasure)s, %(table_name)s, %(from_at)s::timestamptz, %(to_at)s::timestamptz) as changed
