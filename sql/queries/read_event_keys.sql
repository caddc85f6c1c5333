-- All write keys, revoked ones too: a collector keeps them in memory and says which of them it met.
select key_sha256, organization_id, revoked_at is not null as is_revoked from public.event_keys
