select piece::oid::bigint as piece, table_name from private.erasure_pieces()
