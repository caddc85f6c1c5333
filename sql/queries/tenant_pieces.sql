select piece::oid::bigint as piece, table_name from private.tenant_pieces()
