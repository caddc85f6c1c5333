-- (Of an organisation that is gone nothing is kept.)
insert into public.quarantine
    (organization_id, source, stream, data_source_id, level, reason, file_name, line_number, content, content_sha256)
select h.id, %(source)s, %(stream)s, %(data_source_id)s, 'page', %(reason)s, %(file_name)s, %(line_number)s,
       %(content)s, sha256(%(content)s)
from unnest(private.hold_organizations(array[%(organization_id)s::uuid])) as h (id)
on conflict do nothing
