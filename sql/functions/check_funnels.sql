-- What a funnel's definition may say, whoever writes it: the command, or an owner through the API. The same rules as
-- analytics_assets/funnels/definitions.py has them, and the same form of what is stored.

create or replace function private.trimmed(value text) returns text
language sql immutable parallel safe set search_path = '' as $$
    select regexp_replace(value, '^\s+|\s+$', '', 'g')
$$;

-- What is wrong with a step, in words that name the field and its value; null where nothing is.
create or replace function private.step_problem(step jsonb) returns text
language sql immutable parallel safe set search_path = '' as $$
    select case when jsonb_typeof(step) <> 'object' then format('expected an object with name, event, type, page, properties, not %s', step)
    else (
        select case
                   when f.longest is null then format('no field %s; there are name, event, type, page, properties', to_jsonb(f.key))
                   when f.key = 'properties' then 'properties: expected an object such as {"category": "shoes"}'
                   when f.is_text then format('type %s: expected one of track, page, screen, identify, group, alias', f.value)
                   else format('%s %s: expected text of 1 to %s characters', f.key, f.value, f.longest) end
        from (
            select e.key, e.value, l.longest,
                   jsonb_typeof(e.value) = 'string' and private.trimmed(e.value #>> '{}') <> '' and char_length(e.value #>> '{}') <= l.longest as is_text
            from jsonb_each(step) as e (key, value)
            left join (values ('name', 100), ('event', 100), ('type', 10), ('page', 2000), ('properties', 0)) as l (key, longest) using (key)
            where e.value <> 'null' or l.longest is null
        ) f
        where case f.key when 'properties' then jsonb_typeof(f.value) <> 'object'
                         when 'type' then not f.is_text or f.value #>> '{}' not in ('track', 'page', 'screen', 'identify', 'group', 'alias')
                         else f.is_text is not true end
        order by f.longest nulls first, f.key
        limit 1
    ) end
$$;

-- A step as it is stored: without empty fields, named by its first filter where it has no name. Null: it looks for nothing.
create or replace function private.sound_step(step jsonb) returns jsonb
language sql immutable parallel safe set search_path = '' as $$
    select jsonb_strip_nulls(jsonb_build_object(
               'event', private.trimmed(step ->> 'event'), 'type', private.trimmed(step ->> 'type'), 'page', private.trimmed(step ->> 'page'),
               'name', left(private.trimmed(coalesce(step ->> 'name', step ->> 'event', step ->> 'page', step ->> 'type')), 100)))
           || case when step -> 'properties' not in ('null', '{}') then jsonb_build_object('properties', step -> 'properties') else '{}' end
    where coalesce(step ->> 'event', step ->> 'type', step ->> 'page') is not null
$$;

-- Name and steps in their sound form, and a new version where something else is counted from now on. (With the owner's rights:
-- who writes a funnel calls no function of the project. pg_temp last: nothing of the writer's stands in for a name.)
create or replace function private.check_funnel() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    problem text;
begin
    new.funnel_name := private.trimmed(new.funnel_name);
    if tg_op = 'INSERT' or new.steps is distinct from old.steps then
        problem := case when jsonb_typeof(new.steps) is distinct from 'array' then 'expected a list of 1 to 20 objects' else (
            select format('step %s: %s', s.number, coalesce(private.step_problem(s.step),
                          'nothing to look for; expected an event''s name, a type or a page'))
            from jsonb_array_elements(new.steps) with ordinality as s (step, number)
            where private.step_problem(s.step) is not null or private.sound_step(s.step) is null
            order by s.number limit 1) end;
        if problem is not null then
            raise exception 'funnel %: %', to_json(new.funnel_name), problem using errcode = 'check_violation', schema = 'public',
                table = 'funnels', column = 'steps', constraint = 'funnels_steps_sound';
        end if;
        select coalesce(jsonb_agg(private.sound_step(s.step) order by s.number), '[]') into new.steps
        from jsonb_array_elements(new.steps) with ordinality as s (step, number);
    end if;
    if tg_op = 'UPDATE' then
        if (new.window_seconds, new.unit, new.steps) is distinct from (old.window_seconds, old.unit, old.steps) and new.version = old.version then
            new.version := old.version + 1;
        end if;
        if new is distinct from old then
            new.updated_at := now();
        end if;
    end if;
    return new;
end $$;

create or replace trigger check_funnel before insert or update on public.funnels
    for each row execute function private.check_funnel();

-- A funnel of a tenant that is added, changed, put on hold, or taken up again: its days are computed anew, as `analytics funnels` does
-- it. (With the owner's rights: the ledger is not the tenant's to write. The policies of funnels have decided before.)
create or replace function private.note_funnel_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if new.is_active and (select count(*) from public.funnels f where f.organization_id = new.organization_id and f.is_active) > 100 then
        raise check_violation using message = 'funnels: 100 are counted already', hint = 'Put one that is not needed on hold (is_active = false).';
    end if;
    -- (Without the turn of the organisation, for which a request would wait as long as its run takes.)
    perform private.mark_funnel_history(new.organization_id);
    return null;
end $$;

create or replace trigger note_added_funnel after insert on public.funnels
    for each row when (pg_trigger_depth() = 0 and current_user in ('authenticated', 'service_role'))
    execute function private.note_funnel_change();
create or replace trigger note_changed_funnel after update on public.funnels
    for each row when (
        (new.is_active, new.version, new.funnel_name) is distinct from (old.is_active, old.version, old.funnel_name)
        and pg_trigger_depth() = 0 and current_user in ('authenticated', 'service_role'))
    execute function private.note_funnel_change();
