-- One erasure of an organisation at a time: waits for another process that is at one.
select pg_advisory_lock(hashtext('analytics.erasure'), hashtext(%(organization_id)s::uuid::text))
