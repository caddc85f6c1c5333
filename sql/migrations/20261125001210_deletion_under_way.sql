-- An organisation whose deletion has begun says so: put back into the schedules in between, its writers went on behind the deletion.
-- (Scans of them block for a moment only: a table of tenants is small.)
-- squawk-ignore-file constraint-missing-not-valid
alter table public.organizations
    add column if not exists deleting_since timestamptz,
    add constraint organizations_deleting_is_inactive check (deleting_since is null or not is_active);
comment on column public.organizations.deleting_since is 'When `analytics organizations delete` began; it can only go on.';
