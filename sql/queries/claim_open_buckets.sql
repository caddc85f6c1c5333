select * from private.claim_open_buckets(%(assets)s, %(start)s, %(end)s, %(most)s)
