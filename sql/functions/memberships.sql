-- private.memberships follows organization_members, which may be adopted: user_id and role are of any type there, and a pair may
-- stand twice. (The triggers have the owner's rights: whoever adds members need not be able to write the copy.)

-- A user's id, null where it is none of a user who could sign in.
create or replace function private.user_key(id text) returns uuid
language sql immutable parallel safe set search_path = '' as $$
    select case when id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then id::uuid end
$$;

-- Copies the pairs that a statement has changed anew. (Turns: of two rows of one pair, removed by two sessions, each would see the other's.)
create or replace function private.copy_changed_memberships() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    lock table private.memberships in share row exclusive mode;
    delete from private.memberships m using changed c
    where m.organization_id = c.organization_id and m.user_id = private.user_key(c.user_id::text);
    insert into private.memberships (organization_id, user_id, role)
    select distinct o.organization_id, private.user_key(o.user_id::text), coalesce(o.role::text, '')
    from changed c
    join public.organization_members o on o.organization_id = c.organization_id and o.user_id = c.user_id
    where private.user_key(o.user_id::text) is not null;
    return null;
end $$;

-- Copies all of them anew.
create or replace function private.copy_all_memberships() returns void
language plpgsql set search_path = '' as $$
begin
    lock table private.memberships in share row exclusive mode;
    delete from private.memberships m
    where not exists (
        select from public.organization_members o
        where o.organization_id = m.organization_id and private.user_key(o.user_id::text) = m.user_id and coalesce(o.role::text, '') = m.role
    );
    insert into private.memberships (organization_id, user_id, role)
    select distinct o.organization_id, private.user_key(o.user_id::text), coalesce(o.role::text, '')
    from public.organization_members o
    where o.organization_id is not null and private.user_key(o.user_id::text) is not null
    on conflict do nothing;
end $$;

create or replace function private.note_truncated_members() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    perform private.copy_all_memberships();
    return null;
end $$;

create or replace trigger copy_added_memberships after insert on public.organization_members
    referencing new table as changed for each statement execute function private.copy_changed_memberships();
create or replace trigger copy_removed_memberships after delete on public.organization_members
    referencing old table as changed for each statement execute function private.copy_changed_memberships();
create or replace trigger copy_memberships_before_update after update on public.organization_members
    referencing old table as changed for each statement execute function private.copy_changed_memberships();
create or replace trigger copy_memberships_after_update after update on public.organization_members
    referencing new table as changed for each statement execute function private.copy_changed_memberships();
create or replace trigger copy_truncated_memberships after truncate on public.organization_members
    for each statement execute function private.note_truncated_members();
