select place, changed from private.finish_erasure(%(organization_id)s, %(erasure)s)
