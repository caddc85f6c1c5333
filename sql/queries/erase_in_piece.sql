select private.erase_in_piece(%(organization_id)s, %(erasure)s, %(piece)s::oid::regclass) as changed
