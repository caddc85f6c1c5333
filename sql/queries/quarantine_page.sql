insert into public.quarantine
    (organization_id, source, stream, data_source_id, level, reason, file_name, line_number, content, content_sha256)
values (%(organization_id)s, %(source)s, %(stream)s, %(data_source_id)s, 'page', %(reason)s, %(file_name)s, %(line_number)s,
        %(content)s, sha256(%(content)s))
on conflict do nothing
