select * from private.claim_sources(
    %(owner)s, %(most)s, %(struggling_most)s, %(source_ids)s::uuid[], %(forced)s, %(kind)s)
