-- funnel_analysis keeps to known organisations by triggers for whole statements in place of its foreign key, which looked up the
-- organisation of every row: of the 360,000 rows that ten million events make that took as long as all else that is done to
-- insert them. What held before holds still: rows of unknown organisations are refused, and an organisation's rows go with it.
-- squawk-ignore-file ban-drop-constraint
alter table public.funnel_analysis drop constraint funnel_analysis_organization_id_fkey;

-- Refuses organisations that are not there, and holds on to the others until the transaction ends, as foreign keys do: an
-- organisation that is being deleted meanwhile waits for this one, or this one for it. (The triggers have the owner's rights, as
-- foreign keys do: to hold on to a row asks for more than to read it.)
create function private.require_organizations(relation name, ids uuid[]) returns void
language plpgsql set search_path = '' as $$
declare
    held uuid[];
    unknown uuid;
begin
    held := array(select o.id from public.organizations o where o.id = any (ids) order by o.id for key share);
    if cardinality(held) < cardinality(ids) then
        select i.id into unknown from unnest(ids) as i (id) where i.id <> all (held) order by i.id limit 1;
        raise exception 'rows of % name organisation %, which does not exist', relation, unknown
            using errcode = 'foreign_key_violation', schema = 'public', table = relation, column = 'organization_id',
                  constraint = relation || '_known_organizations',
                  hint = 'Add the organisation first: analytics organizations add.';
    end if;
end $$;

create function private.refuse_unknown_organizations() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    perform private.require_organizations(tg_table_name, array(select distinct a.organization_id from added a));
    return null;
end $$;

create function private.refuse_unknown_organization() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    perform private.require_organizations(tg_table_name, array[new.organization_id]);
    return null;
end $$;

-- (With the owner's rights: whoever deletes organisations need not have any on their funnels.)
create function private.delete_funnel_rows() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    delete from public.funnel_analysis a using gone g where a.organization_id = g.id;
    return null;
end $$;

create trigger known_organizations after insert on public.funnel_analysis
    referencing new table as added for each statement execute function private.refuse_unknown_organizations();
create trigger known_organization after update of organization_id on public.funnel_analysis
    for each row when (new.organization_id is distinct from old.organization_id)
    execute function private.refuse_unknown_organization();
create trigger delete_funnel_rows after delete on public.organizations
    referencing old table as gone for each statement execute function private.delete_funnel_rows();
