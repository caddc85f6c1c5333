-- Who may change which organisation's rows. Policies ask private.memberships, of which everybody sees the own rows, in a subquery:
-- an init plan, whose value becomes a condition of the index.

-- The organisations in which the user of this request has one of these roles. (With the caller's rights. The body is parsed when it
-- is made, so that nobody needs to see into schema private.)
create or replace function private.org_ids_as(roles text[]) returns setof uuid
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select m.organization_id from private.memberships m where m.user_id = (select auth.uid()) and m.role = any (roles);
end;

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
