insert into public.event_keys (organization_id, name, hint, key_sha256)
values (%(organization_id)s, %(name)s, %(hint)s, sha256(convert_to(%(key)s, 'UTF8')))
returning id
