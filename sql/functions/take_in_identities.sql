-- Who is behind an id. A message that names an anonymous id and a user, or an alias (the id given up, and the user), links
-- them; the earliest link of an id holds (time, then user id), so the order of arrival does not matter.

-- Links of the batch that change what is known, into pg_temp.event_links. Returns how many.
create or replace function private.find_event_links() returns bigint
language plpgsql set search_path = '' set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    found_links bigint;
begin
    insert into pg_temp.event_links (organization_id, known_as, user_id, identified_at)
    select l.organization_id, l.known_as, l.user_id, l.identified_at
    from (
        select distinct on (s.organization_id, k.known_as collate "C")
               s.organization_id, k.known_as, s.user_id, s."timestamp" as identified_at
        from pg_temp.staged_events s
        cross join lateral (
            values (s.anonymous_id), (case when s.event_type = 'alias' then s.previous_id end)) as k (known_as)
        where s.user_id is not null and k.known_as <> s.user_id
        order by s.organization_id, k.known_as collate "C", s."timestamp", s.user_id collate "C"
    ) l
    left join lateral (
        select i.identified_at, i.user_id from public.event_identities i
        where i.organization_id = l.organization_id and i.known_as = l.known_as
        offset 0
    ) i on true
    where i.user_id is null or (l.identified_at, l.user_id collate "C") < (i.identified_at, i.user_id collate "C");
    get diagnostics found_links = row_count;
    return found_links;
end $$;

-- The visitor behind an id: links are followed (an anonymous id to its user, a user id given up to the next), 64 at most.
-- In a circle of links the latest one is not followed, so that all of its ids are one visitor.
create or replace function private.visitor_of(organization_id uuid, sent_id text) returns text
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan as $$
begin
    return (
        with recursive path as (
            select 1 as step, i.known_as, i.user_id, i.identified_at
            from public.event_identities i
            where i.organization_id = visitor_of.organization_id and i.known_as = sent_id
            union all
            select p.step + 1, i.known_as, i.user_id, i.identified_at
            from path p
            cross join lateral (
                select i.known_as, i.user_id, i.identified_at from public.event_identities i
                where i.organization_id = visitor_of.organization_id and i.known_as = p.user_id
                offset 0
            ) i
            where p.step < 64
        )
        select coalesce(
            (select p.known_as from path p group by p.known_as, p.identified_at having count(*) > 1
             order by p.identified_at desc, p.known_as collate "C" desc limit 1),
            (select p.user_id from path p order by p.step desc limit 1),
            sent_id));
end $$;

-- The visitors behind the ids of the batch, and what is stored of them, into pg_temp.event_visitors.
create or replace function private.find_event_visitors() returns void
language plpgsql set search_path = '' set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    insert into pg_temp.event_visitors
        (organization_id, sent_id, visitor_id, visitor_no, is_known, is_alone, first_seen_at, signed_up_at, user_id, email_hash)
    select v.organization_id, v.sent_id, v.visitor_id, dense_rank() over (order by v.organization_id, v.visitor_id collate "C"), v.is_known,
           count(*) over (partition by v.organization_id, v.visitor_id collate "C") = 1, o.first_seen_at, o.signed_up_at, o.user_id, o.email_hash
    from (
        select r.organization_id, r.sent_id, i.user_id is not null as is_known,
               case when i.user_id is null then r.sent_id when j.user_id is null then i.user_id
                    else private.visitor_of(r.organization_id, r.sent_id) end as visitor_id
        from (select distinct q.organization_id, q.sent_id from pg_temp.event_runs q) r
        left join lateral (
            select i.user_id from public.event_identities i
            where i.organization_id = r.organization_id and i.known_as = r.sent_id
            offset 0
        ) i on true
        left join lateral (
            select j.user_id from public.event_identities j
            where i.user_id is not null and j.organization_id = r.organization_id and j.known_as = i.user_id
            offset 0
        ) j on true
        union all
        -- Visitors of sessions that were broken up: these are found already.
        select distinct p.organization_id, null, false, p.visitor_id from pg_temp.event_points p
    ) v
    left join lateral (
        select o.first_seen_at, o.signed_up_at, o.user_id, o.email_hash from public.visitors o
        where o.organization_id = v.organization_id and o.visitor_id = v.visitor_id
        offset 0
    ) o on true;
end $$;

-- Takes in the links of pg_temp.event_links: events, people and days of ids whose visitor is another now move to it. The
-- sessions in which these events were are broken up into events (pg_temp.event_points), from which
-- private.assign_sessions makes sessions again.
create or replace function private.take_in_identities() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    -- An id's visitor can change where a link changes, and for all ids that lead there.
    with recursive affected (organization_id, sent_id) as (
        select l.organization_id, l.known_as from pg_temp.event_links l
        union
        select i.organization_id, i.known_as
        from affected a
        join public.event_identities i on i.organization_id = a.organization_id and i.user_id = a.sent_id
    )
    insert into pg_temp.event_moves (organization_id, sent_id, old_visitor_id, was_known)
    select a.organization_id, a.sent_id,
           case when i.known_as is null then a.sent_id else private.visitor_of(a.organization_id, a.sent_id) end,
           i.known_as is not null
    from affected a
    left join lateral (
        select i.known_as from public.event_identities i
        where i.organization_id = a.organization_id and i.known_as = a.sent_id
        offset 0
    ) i on true
    -- (Not exists(): after an "or" it was looked up in a hash of all visitors.)
    left join lateral (
        select v.visitor_id from public.visitors v
        where v.organization_id = a.organization_id and v.visitor_id = a.sent_id
        offset 0
    ) v on true
    -- An id that is seen for the first time, as most of them, has nothing to move.
    where i.known_as is not null or v.visitor_id is not null;

    insert into public.event_identities as i (organization_id, identified_at, known_as, user_id)
    select l.organization_id, l.identified_at, l.known_as, l.user_id
    from pg_temp.event_links l
    order by l.organization_id, l.known_as
    on conflict (organization_id, known_as) do update
        set identified_at = excluded.identified_at, user_id = excluded.user_id;

    update pg_temp.event_moves m set visitor_id = private.visitor_of(m.organization_id, m.sent_id);
    delete from pg_temp.event_moves m where m.was_known and m.visitor_id = m.old_visitor_id;
    -- Ids that never sent anything have nothing to move.
    delete from pg_temp.event_moves m
    where not exists (select from public.visitors v where v.organization_id = m.organization_id and v.visitor_id = m.old_visitor_id);
    if exists (select from pg_temp.event_moves) then
        perform private.break_up_sessions();
        perform private.move_events();
        perform private.move_people();
    end if;
end $$;

-- The sessions that hold events of a moved id leave, and all their events look for sessions.
create or replace function private.break_up_sessions() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    insert into pg_temp.event_removed (organization_id, visitor_id, session_id, started_at, last_activity, is_own)
    select s.organization_id, s.visitor_id, s.session_id, s.started_at, s.last_activity, s.is_own
    from (
        select distinct m.organization_id, e.visitor_id, e.session_id
        from pg_temp.event_moves m
        join public.visitors v on v.organization_id = m.organization_id and v.visitor_id = m.old_visitor_id
        cross join lateral (
            select e.visitor_id, e.session_id
            from public.event_tracking e
            where e.organization_id = m.organization_id and e.visitor_id = m.old_visitor_id
              and e."timestamp" >= v.first_seen_at and coalesce(e.known_as, e.visitor_id) = m.sent_id
            offset 0
        ) e
        where m.visitor_id <> m.old_visitor_id
    ) b
    cross join lateral (
        select s.organization_id, s.visitor_id, s.session_id, s.started_at, s.last_activity, s.is_own
        from public.visitor_sessions s
        where s.organization_id = b.organization_id and s.visitor_id = b.visitor_id and s.session_id = b.session_id
        offset 0
    ) s;

    insert into pg_temp.event_points (organization_id, visitor_id, own_id, at, pages, id, old_visitor_id, old_session_id, is_known)
    select e.organization_id, coalesce(m.visitor_id, e.visitor_id), case when r.is_own then r.session_id else '' end,
           e."timestamp", e.pages, e.id, e.visitor_id, e.session_id, m.sent_id is not null
    from pg_temp.event_removed r
    cross join lateral (
        select e.organization_id, e.visitor_id, e.known_as, e."timestamp", e.id, e.session_id,
               (e.event_type in ('page', 'screen'))::integer as pages
        from public.event_tracking e
        where e.organization_id = r.organization_id and e.visitor_id = r.visitor_id and e.session_id = r.session_id
          and e."timestamp" between r.started_at and r.last_activity
        offset 0
    ) e
    left join pg_temp.event_moves m
        on m.organization_id = e.organization_id and m.sent_id = coalesce(e.known_as, e.visitor_id);

    delete from public.visitor_sessions s
    using pg_temp.event_removed r
    where s.organization_id = r.organization_id and s.visitor_id = r.visitor_id and s.session_id = r.session_id
      and s.started_at = r.started_at;
    insert into pg_temp.event_instants (organization_id, at) select r.organization_id, r.started_at from pg_temp.event_removed r;
end $$;

create or replace function private.move_events() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    with moved as (
        update public.event_tracking e
        set visitor_id = m.visitor_id, user_id = m.visitor_id, known_as = nullif(m.sent_id, m.visitor_id)
        from pg_temp.event_moves m
        join public.visitors v on v.organization_id = m.organization_id and v.visitor_id = m.old_visitor_id
        where e.organization_id = m.organization_id and e.visitor_id = m.old_visitor_id
          and e."timestamp" >= v.first_seen_at and coalesce(e.known_as, e.visitor_id) = m.sent_id
        returning e.organization_id, m.old_visitor_id, m.visitor_id, e."timestamp", e.event_name, e.metadata -> 'person' as person
    ), days as (
        insert into pg_temp.event_moved_days (organization_id, date, old_visitor_id, visitor_id)
        select distinct m.organization_id, (m."timestamp" at time zone g.time_zone)::date, m.old_visitor_id, m.visitor_id
        from moved m
        join public.organizations g on g.id = m.organization_id
        where m.visitor_id <> m.old_visitor_id
    )
    insert into pg_temp.event_people (organization_id, visitor_id, first_seen_at, signed_up_at, email_hash)
    select m.organization_id, m.visitor_id, min(m."timestamp"),
           min(private.signed_up_at(m.event_name, m."timestamp", (m.person ->> 'signed_up_at')::timestamptz)),
           decode(min(m.person ->> 'email_hash' collate "C"), 'hex')
    from moved m
    group by 1, 2;
end $$;

-- When an event says that its person signed up; null where it says nothing.
create or replace function private.signed_up_at(event_name text, at timestamptz, said timestamptz) returns timestamptz
language sql immutable parallel safe set search_path = '' as $$
    select case when event_name in ('Signed Up', 'Account Created') then least(at, said) else said end
$$;

-- A visitor whose own id moved is no more, and what was known of it goes where that id went; one that lost other ids' events
-- is what its remaining events say.
create or replace function private.move_people() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off as $$
begin
    with gone as (
        delete from public.visitors v
        using (
            select m.organization_id, m.old_visitor_id, min(m.visitor_id) as visitor_id, bool_or(m.sent_id = m.old_visitor_id) as whole,
                   count(distinct m.visitor_id) as targets
            from pg_temp.event_moves m
            where m.visitor_id <> m.old_visitor_id
            group by 1, 2
        ) m
        where v.organization_id = m.organization_id and v.visitor_id = m.old_visitor_id
        returning v.*, m.visitor_id as target, m.whole and m.targets = 1 as merged
    ), left_behind as (
        insert into pg_temp.event_instants (organization_id, at) select g.organization_id, g.first_seen_at from gone g
    ), merged as (
        insert into pg_temp.event_people (organization_id, visitor_id, first_seen_at, signed_up_at, email_hash)
        select g.organization_id, g.target, g.first_seen_at, g.signed_up_at, g.email_hash from gone g where g.merged
    ), stayed as (
        insert into public.visitors (organization_id, first_seen_at, signed_up_at, visitor_id, user_id, email_hash)
        select g.organization_id, r.first_seen_at, r.signed_up_at, g.visitor_id, r.user_id, r.email_hash
        from gone g
        cross join lateral (
            select min(e."timestamp") as first_seen_at, max(e.user_id) as user_id,
                   min(private.signed_up_at(e.event_name, e."timestamp", (e.metadata #>> '{person,signed_up_at}')::timestamptz)) as signed_up_at,
                   decode(min(e.metadata #>> '{person,email_hash}' collate "C"), 'hex') as email_hash
            from public.event_tracking e
            where not g.merged and e.organization_id = g.organization_id and e.visitor_id = g.visitor_id
              and e."timestamp" >= g.first_seen_at
            offset 0
        ) r
        where r.first_seen_at is not null
        returning organization_id, first_seen_at
    )
    insert into pg_temp.event_instants (organization_id, at) select k.organization_id, k.first_seen_at from stayed k;
end $$;
