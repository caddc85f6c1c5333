-- Who belongs to an organisation. organization_members may be adopted: user_id and role keep the types that their
-- application gave them (a role may be an enum), and no unique key is taken for granted.

-- The roles that can be given: those of the enum, or the project's own.
create or replace function private.member_roles() returns text[]
language sql stable set search_path = '' as $$
    select coalesce(
        (select array_agg(e.enumlabel::text order by e.enumsortorder)
         from pg_catalog.pg_attribute a join pg_catalog.pg_enum e on e.enumtypid = a.atttypid
         where a.attrelid = 'public.organization_members'::regclass and a.attname = 'role' and not a.attisdropped),
        array['owner', 'admin', 'member', 'viewer'])
$$;

create or replace function private.is_last_owner(organization uuid, member uuid) returns boolean
language sql stable set search_path = '' as $$
    select coalesce(bool_or(m.user_id::text = member::text) and bool_and(m.user_id::text = member::text), false)
    from public.organization_members m
    where m.organization_id = organization and m.role::text = 'owner'
$$;

-- Gives a member its role. Two calls for one organisation take turns: each of two owners could remove the other else.
-- Returns added, changed, unchanged, or last owner where it would leave none (and force is false).
create or replace function private.set_member(organization uuid, member uuid, new_role text, force boolean) returns text
language plpgsql set search_path = '' as $$
declare
    role_type text := (select format_type(a.atttypid, null) from pg_catalog.pg_attribute a
                       where a.attrelid = 'public.organization_members'::regclass and a.attname = 'role');
    user_type text := (select format_type(a.atttypid, null) from pg_catalog.pg_attribute a
                       where a.attrelid = 'public.organization_members'::regclass and a.attname = 'user_id');
    present text;
begin
    perform from public.organizations o where o.id = organization for no key update;
    select m.role::text into present from public.organization_members m
    where m.organization_id = organization and m.user_id::text = member::text;
    if not found then
        execute format('insert into public.organization_members (organization_id, user_id, role) values ($1, $2::text::%s, $3::%s)',
                       user_type, role_type) using organization, member, new_role;
        return 'added';
    elsif present = new_role then
        return 'unchanged';
    elsif not force and private.is_last_owner(organization, member) then
        return 'last owner';
    end if;
    execute format('update public.organization_members set role = $3::%s where organization_id = $1 and user_id::text = $2::text',
                   role_type) using organization, member, new_role;
    return 'changed';
end $$;

-- Returns removed, absent, or last owner.
create or replace function private.remove_member(organization uuid, member uuid, force boolean) returns text
language plpgsql set search_path = '' as $$
begin
    perform from public.organizations o where o.id = organization for no key update;
    if not force and private.is_last_owner(organization, member) then
        return 'last owner';
    end if;
    delete from public.organization_members m where m.organization_id = organization and m.user_id::text = member::text;
    return case when found then 'removed' else 'absent' end;
end $$;
