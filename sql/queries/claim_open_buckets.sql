select * from private.claim_open_buckets(%(assets)s, %(keys)s, %(start)s, %(end)s, %(most)s)
