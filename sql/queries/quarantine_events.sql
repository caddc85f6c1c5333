insert into public.quarantine
    (organization_id, source, stream, level, record_key, field, reason, content, content_sha256)
select e.organization_id, 'events', e.stream, 'event', e.record_key, case when not k.speaks then e.field end,
       case when not k.speaks then e.reason else e.stream || ': an event that speaks of somebody who was erased' end,
       case when not k.speaks then e.content end, sha256(e.content)
from unnest(%(organization_ids)s::uuid[], %(streams)s::text[], %(record_keys)s::text[], %(fields)s::text[],
            %(reasons)s::text[], %(contents)s::bytea[])
    as e (organization_id, stream, record_key, field, reason, content)
-- (Of an organisation that is gone nothing is kept.)
join unnest(private.hold_organizations(%(organization_ids)s::uuid[])) as h (id) on h.id = e.organization_id
cross join lateral (select private.event_speaks_of_erased(h.id, e.content) as speaks offset 0) as k
on conflict do nothing
