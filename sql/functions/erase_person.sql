-- A person under other names: every row of theirs, one name for each of theirs, so that all that is counted by ids is the same
-- before and after, also when it is computed again. What nothing counts by is emptied.

-- Begins an erasure, in one transaction: finds the person, lists their ids and renames every row of theirs. From then on what comes
-- of them is renamed as it comes (private.rename_staged_events, private.without_erased). Pages and what else may mention them
-- follow piece by piece (private.erase_in_piece). Nobody writes rows of the organisation meanwhile: lock_not_available where
-- somebody does who takes no turns (roll back and try again).
create or replace function private.begin_erasure(organization uuid, given_ids text[], given_hashes bytea[]) returns uuid
language plpgsql set search_path = '' as $$
declare
    erasure uuid;
begin
    perform private.seize_for_erasure(organization);
    insert into public.erasures (organization_id) values (organization) returning id into erasure;
    perform private.find_person(organization, given_ids, given_hashes);
    perform private.list_person(organization, erasure);
    perform private.rename_person(organization, erasure);
    return erasure;
end $$;

-- Whoever stores pages of a source holds its row, and takes no turn.
create or replace function private.seize_for_erasure(organization uuid) returns void
language plpgsql set search_path = '' as $$
begin
    perform private.seize_organization(organization);
    perform from public.data_sources d where d.organization_id = organization order by d.id for no key update nowait;
end $$;

create or replace function private.note_erased(organization uuid, erasure uuid, place text, changed bigint) returns void
language sql set search_path = '' as $$
    update public.erasures e set counts = e.counts || jsonb_build_object(place, coalesce((e.counts ->> place)::bigint, 0) + changed)
    where e.organization_id = organization and e.id = erasure and changed > 0
$$;

-- What the erasure under way renames, where every piece finds it.
create or replace function private.prepare_erasure(organization uuid) returns void
language plpgsql set search_path = '' set client_min_messages = warning as $$
begin
    drop table if exists pg_temp.erased_now, pg_temp.erased_keys;
    create temp table erased_now on commit drop as
    select e.scope, e.plain, e.token from public.erased_ids e where e.organization_id = organization and e.plain is not null;
    create temp table erased_keys on commit drop as
    select n.scope::uuid as data_source_id, 'id:' || n.plain as old_key, 'id:' || n.token as new_key
    from pg_temp.erased_now n where n.scope not in ('site', 'email')
    union all
    select d.id, 'email:' || n.plain, 'email:' || encode(private.email_hash(organization, n.token), 'hex')
    from pg_temp.erased_now n
    join public.data_sources d on d.organization_id = organization and d.source_type in ('woocommerce', 'shopify')
    where n.scope = 'email';
    analyze pg_temp.erased_now;
    analyze pg_temp.erased_keys;
end $$;

create or replace function private.rename_person(organization uuid, erasure uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    perform private.prepare_erasure(organization);
    perform private.rename_visitor(organization, erasure);
    perform private.rename_customer(organization, erasure);
    perform private.rename_member(organization, erasure);
end $$;

create or replace function private.rename_visitor(organization uuid, erasure uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
declare
    changed bigint;
    pages text[] := private.asked_pages(organization);
    properties jsonb[] := private.asked_properties(organization);
begin
    -- A session made of a visitor's events is named after it.
    drop table if exists pg_temp.erased_sessions;
    create temp table erased_sessions on commit drop as
    select distinct on (s.visitor_id, s.session_id) s.visitor_id, s.session_id,
           case when s.is_own then private.made_token(organization, 'session', s.session_id)
                else 's_' || left(md5(n.token || '|' || round(date_part('epoch', s.started_at) * 1000000)::bigint), 24) end as new_id
    from pg_temp.erased_now n
    join public.visitor_sessions s on s.organization_id = organization and s.visitor_id = n.plain
    where n.scope = 'site'
    order by s.visitor_id, s.session_id, s.started_at;
    analyze pg_temp.erased_sessions;

    -- (Hashed, each id and session: looked up for each event they were nearly all of the time. So offset 0: of a join of the events
    -- with themselves the planner expects one row.)
    update public.event_tracking e
    set visitor_id = k.token, user_id = case when e.user_id is not null then k.token end, anonymous_id = k.anonymous_id,
        known_as = k.known_as, session_id = k.session_id, event_label = null,
        page_url = private.bare_url(organization, e.page_url, pages), metadata = private.bare_metadata(organization, e.metadata, properties)
    from (
        select e."timestamp", e.id, n.token, a.token as anonymous_id,
               case when e.known_as is not null then coalesce(w.token, private.made_token(organization, 'id', e.known_as)) end as known_as,
               coalesce(s.new_id, private.made_token(organization, 'session', e.session_id)) as session_id
        from pg_temp.erased_now n
        join public.event_tracking e on e.organization_id = organization and e.visitor_id = n.plain
        left join pg_temp.erased_now a on a.scope = 'site' and a.plain = e.anonymous_id
        left join pg_temp.erased_now w on w.scope = 'site' and w.plain = e.known_as
        left join pg_temp.erased_sessions s on s.visitor_id = e.visitor_id and s.session_id = e.session_id
        where n.scope = 'site'
        offset 0
    ) k
    where e.organization_id = organization and e."timestamp" = k."timestamp" and e.id = k.id;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'event_tracking', changed);

    update public.visitor_sessions s set visitor_id = n.token, session_id = i.new_id
    from pg_temp.erased_sessions i
    join pg_temp.erased_now n on n.scope = 'site' and n.plain = i.visitor_id
    where s.organization_id = organization and s.visitor_id = i.visitor_id and s.session_id = i.session_id;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'visitor_sessions', changed);

    delete from public.live_sessions l using pg_temp.erased_now n
    where n.scope = 'site' and l.organization_id = organization and (l.visitor_id = n.plain or l.user_id = n.plain);
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'live_sessions', changed);

    update public.visitors v
    set visitor_id = n.token, user_id = case when v.user_id is not null then n.token end,
        email_hash = private.email_hash(organization, private.erased_address(organization, v.email_hash))
    from pg_temp.erased_now n
    where n.scope = 'site' and v.organization_id = organization and v.visitor_id = n.plain;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'visitors', changed);

    update public.visitor_days d set visitor_id = n.token
    from pg_temp.erased_now n
    where n.scope = 'site' and d.organization_id = organization and d.visitor_id = n.plain;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'visitor_days', changed);

    -- (Both ids of a row at once: one by one they could be the same for a moment.)
    update public.event_identities i
    set known_as = coalesce((select k.token from pg_temp.erased_now k where k.scope = 'site' and k.plain = i.known_as), i.known_as),
        user_id = coalesce((select u.token from pg_temp.erased_now u where u.scope = 'site' and u.plain = i.user_id), i.user_id)
    where i.organization_id = organization
      and (i.known_as in (select n.plain from pg_temp.erased_now n where n.scope = 'site')
           or i.user_id in (select n.plain from pg_temp.erased_now n where n.scope = 'site'));
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'event_identities', changed);
end $$;

create or replace function private.rename_customer(organization uuid, erasure uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
declare
    changed bigint;
begin
    drop table if exists pg_temp.erased_hashes;
    create temp table erased_hashes on commit drop as
    select decode(n.plain, 'hex') as hash, private.email_hash(organization, n.token) as new_hash
    from pg_temp.erased_now n where n.scope = 'email';
    analyze pg_temp.erased_hashes;

    -- Their orders; and those that somebody else placed with their address, which keep their customer.
    update public.orders o
    set customer_key = coalesce(k.new_key, o.customer_key),
        customer_id = case when k.new_key like 'id:%' and o.customer_id is not null then substr(k.new_key, 4) else o.customer_id end,
        email_hash = coalesce(k.new_hash, private.email_hash(organization, private.erased_address(organization, o.email_hash)))
    from (
        select f.data_source_id, f.order_id, max(f.new_key) as new_key, max(f.hash_hex) as hash_hex, decode(max(f.hash_hex), 'hex') as new_hash
        from (
            select o.data_source_id, o.order_id, e.new_key, null::text as hash_hex
            from pg_temp.erased_keys e
            join public.orders o
                on o.organization_id = organization and o.data_source_id = e.data_source_id and o.customer_key = e.old_key
            union all
            select o.data_source_id, o.order_id, null, encode(h.new_hash, 'hex')
            from pg_temp.erased_hashes h
            join public.data_sources d on d.organization_id = organization
            join public.orders o
                on o.organization_id = organization and o.data_source_id = d.id and o.email_hash = h.hash
        ) f
        group by 1, 2
    ) k
    where o.organization_id = organization and o.data_source_id = k.data_source_id and o.order_id = k.order_id;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'orders', changed);

    update public.customers c
    set customer_key = k.new_key,
        customer_id = case when k.new_key like 'id:%' and c.customer_id is not null then substr(k.new_key, 4) end,
        email_hash = private.email_hash(organization, private.erased_address(organization, c.email_hash))
    from pg_temp.erased_keys k
    where c.organization_id = organization and c.data_source_id = k.data_source_id and c.customer_key = k.old_key;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'customers', changed);
end $$;

-- The working tables of cohorts.
create or replace function private.rename_member(organization uuid, erasure uuid) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
declare
    changed bigint;
begin
    drop table if exists pg_temp.erased_members;
    create temp table erased_members on commit drop as
    select 'user:' || n.plain as old_member, 'user:' || n.token as new_member from pg_temp.erased_now n where n.scope = 'site'
    union all
    select 'customer:' || k.data_source_id || ':' || k.old_key, 'customer:' || k.data_source_id || ':' || k.new_key
    from pg_temp.erased_keys k;
    analyze pg_temp.erased_members;

    update public.cohort_members m set member = e.new_member
    from pg_temp.erased_members e where m.organization_id = organization and m.member = e.old_member;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'cohort_members', changed);
    update public.cohort_visits v set member = e.new_member
    from pg_temp.erased_members e where v.organization_id = organization and v.member = e.old_member;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'cohort_visits', changed);
    update public.cohort_orders o set member = e.new_member
    from pg_temp.erased_members e where o.organization_id = organization and o.member = e.old_member;
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'cohort_orders', changed);
    update public.cohort_persons p
    set member = coalesce((select e.new_member from pg_temp.erased_members e where e.old_member = p.member), p.member),
        person = coalesce((select e.new_member from pg_temp.erased_members e where e.old_member = p.person), p.person)
    where p.organization_id = organization
      and (p.member in (select e.old_member from pg_temp.erased_members e)
           or p.person in (select e.old_member from pg_temp.erased_members e));
    get diagnostics changed = row_count;
    perform private.note_erased(organization, erasure, 'cohort_persons', changed);
end $$;
