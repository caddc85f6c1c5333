-- Named by its id, or by its first characters or its name, where these are only one key's.
update public.event_keys k set revoked_at = now()
where k.organization_id = %(organization_id)s and k.revoked_at is null
  and k.id = (select min(f.id::text)::uuid from public.event_keys f
              where f.organization_id = %(organization_id)s and f.revoked_at is null
                and (f.id::text = %(key)s or f.hint = %(key)s or f.name = %(key)s)
              having count(*) = 1)
returning k.id, k.name, k.hint
