select s.table_name as "table", s.pieces, s.total, s.heap, s.indexes, s.toast, s.oldest, s.per_month
from private.table_sizes() s
