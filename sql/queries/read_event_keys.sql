-- All write keys, revoked ones too: a collector keeps them in memory and says which of them it met. turn: as
-- private.lock_organizations counts them; two organisations of one turn wait for each other.
select key_sha256, organization_id, revoked_at is not null as is_revoked, hashtext(organization_id::text) & 63 as turn
from public.event_keys
