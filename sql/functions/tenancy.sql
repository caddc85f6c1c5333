-- Who may see and change which organisation's rows. Policies call these once a statement: (select private.own_org_ids()) is
-- an init plan, whose value becomes a condition of the index.

-- The organisations of the user of this request. (With the owner's rights: nobody needs to read the members themselves, and a
-- policy on organization_members that asked itself would never end. An array from PL/pgSQL, which keeps its plan as long as the
-- connection: a set from SQL took three times as long, as much as the reading of a page of unread insights.)
create or replace function private.own_org_ids() returns uuid[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller constant uuid := auth.uid();
begin
    return array(select m.organization_id from public.organization_members m where m.user_id = caller);
end $$;

-- Those in which the user has one of these roles.
create or replace function private.org_ids_as(roles text[]) returns setof uuid
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select m.organization_id from public.organization_members m
    where m.user_id = (select auth.uid()) and m.role::text = any (roles)
$$;

-- Who acknowledged an alert, and when, is said by the database, whatever the statement says.
create or replace function private.note_acknowledgement() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.acknowledged_by := case when new.is_acknowledged then auth.uid() end;
    new.acknowledged_at := case when new.is_acknowledged then now() end;
    new.updated_at := now();
    return new;
end $$;

create or replace trigger note_acknowledgement before update of is_acknowledged on public.performance_alerts
    for each row when (new.is_acknowledged <> old.is_acknowledged) execute function private.note_acknowledgement();

create or replace function private.note_update() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.updated_at := now();
    return new;
end $$;

create or replace trigger note_update before update of is_read on public.ai_insights
    for each row when (new.is_read <> old.is_read) execute function private.note_update();

-- When an insight was dismissed is said by the database, as with alerts.
create or replace function private.note_dismissal() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.dismissed_at := case when new.is_dismissed then now() end;
    new.updated_at := now();
    return new;
end $$;

create or replace trigger note_dismissal before update of is_dismissed on public.ai_insights
    for each row when (new.is_dismissed <> old.is_dismissed) execute function private.note_dismissal();

-- A funnel of a tenant that is put on hold, or taken up again: its days are computed anew, as `analytics funnels` does it.
-- (With the owner's rights: the ledger is not the tenant's to write. The policies of funnels have decided before.)
create or replace function private.note_funnel_switch() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform private.mark_funnel_history(new.organization_id);
    return null;
end $$;

create or replace trigger note_funnel_switch after update of is_active on public.funnels
    for each row when (new.is_active <> old.is_active and pg_trigger_depth() = 0 and current_user = 'authenticated')
    execute function private.note_funnel_switch();
