-- (Of an organisation that is gone nothing is kept.)
insert into public.quarantine
    (organization_id, source, stream, data_source_id, level, reason, file_name, line_number, content, content_sha256)
select h.id, %(source)s, %(stream)s, %(data_source_id)s, 'page', case when not e.speaks then %(reason)s
       else %(stream)s || ': a page that speaks of somebody who was erased' end, %(file_name)s, %(line_number)s,
       case when not e.speaks then %(content)s::bytea end, sha256(%(content)s)
from unnest(private.hold_organizations(array[%(organization_id)s::uuid])) as h (id)
cross join lateral (
    select private.speaks_of_erased(h.id, %(data_source_id)s::uuid, %(stream)s, %(content)s) as speaks offset 0) as e
on conflict do nothing
