insert into public.quarantine
    (organization_id, source, stream, level, record_key, field, reason, content, content_sha256)
select e.organization_id, 'events', e.stream, 'event', e.record_key, e.field, e.reason, e.content, sha256(e.content)
from unnest(%(organization_ids)s::uuid[], %(streams)s::text[], %(record_keys)s::text[], %(fields)s::text[],
            %(reasons)s::text[], %(contents)s::bytea[])
    as e (organization_id, stream, record_key, field, reason, content)
-- (Of an organisation that is gone nothing is kept.)
join unnest(private.hold_organizations(%(organization_ids)s::uuid[])) as h (id) on h.id = e.organization_id
on conflict do nothing
