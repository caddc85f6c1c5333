select pg_advisory_unlock(hashtext('analytics.erasure'), hashtext(%(organization_id)s::uuid::text))
