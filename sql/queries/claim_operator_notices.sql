select * from private.claim_operator_notices(%(channel)s, %(most)s)
