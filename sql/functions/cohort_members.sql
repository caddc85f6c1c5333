-- Who belongs to which cohort. Called by public.aggregate_cohorts.
--
-- signup: the day on which a store customer registered or a tracked user signed up, the earlier one where both are one
-- person; first_purchase: the first day with a qualifying order; first_visit: a known user's first event ever.
-- Whoever has something on a day in scope, or had, is looked at again, wherever their anchor lies.
-- (Collate "default": ids taken from a member, whose collation is C, did not use the indexes of their tables.)

-- pg_temp.cohort_users, pg_temp.cohort_customers: those that are looked at, and what their records say.
create or replace function private.find_touched_members() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_users on commit drop as
    -- Whoever comes may say since when they have an account, or who they are.
    select c.organization_id, c.member, substr(c.member, 6) collate "default" as user_id, c.first_seen_at, c.signed_up_at, c.email_hash
    from pg_temp.cohort_visitors c
    join pg_temp.cohort_scope s using (organization_id)
    where c.signed_up_at is not null or c.email_hash is not null or s.has_orders
    union
    -- (The bounds of all organisations: one walk along an index that begins with the moment.)
    select s.organization_id, 'user:' || v.visitor_id, v.visitor_id, v.first_seen_at, v.signed_up_at, v.email_hash
    from pg_temp.cohort_scope s
    join public.visitors v
        on v.organization_id = s.organization_id and v.first_seen_at >= s.from_at and v.first_seen_at < s.to_at
    where v.user_id is not null and v.first_seen_at >= (select min(from_at) from pg_temp.cohort_scope)
      and v.first_seen_at < (select max(to_at) from pg_temp.cohort_scope)
    union
    select s.organization_id, 'user:' || v.visitor_id, v.visitor_id, v.first_seen_at, v.signed_up_at, v.email_hash
    from pg_temp.cohort_scope s
    join public.visitors v
        on v.organization_id = s.organization_id and v.signed_up_at >= s.from_at and v.signed_up_at < s.to_at
    where v.user_id is not null and v.signed_up_at >= (select min(from_at) from pg_temp.cohort_scope)
      and v.signed_up_at < (select max(to_at) from pg_temp.cohort_scope)
    union
    select k.organization_id, k.member, v.visitor_id, v.first_seen_at, v.signed_up_at, v.email_hash
    from (
        select c.organization_id, c.member from pg_temp.cohort_visit_changes c where c.new_days = 0
        union
        select l.organization_id, l.member from pg_temp.cohort_lines l where l.member like 'user:%'
        union
        select m.organization_id, m.member
        from pg_temp.cohort_scope s
        join public.cohort_members m
            on m.organization_id = s.organization_id and m.cohort_type in ('signup', 'first_visit')
           and m.anchor_date >= s.from_date and m.anchor_date <= s.to_date
        where m.member like 'user:%'
    ) k
    -- (Looked up one by one, by offset 0: all visitors were read for a few.)
    left join lateral (
        select v.visitor_id, v.first_seen_at, v.signed_up_at, v.email_hash from public.visitors v
        where v.organization_id = k.organization_id and v.visitor_id = substr(k.member, 6) collate "default" and v.user_id is not null
        offset 0
    ) v on true;
    analyze pg_temp.cohort_users (organization_id, member);

    create temp table cohort_customers on commit drop as
    select k.organization_id, k.member, c.customer_key, c.customer_id, c.email_hash, c.registered_at
    from (
        select l.organization_id, l.member from pg_temp.cohort_lines l where l.member like 'customer:%'
        union
        select c.organization_id, c.member from pg_temp.cohort_order_changes c where c.member like 'customer:%'
        union
        select s.organization_id, 'customer:' || c.data_source_id || ':' || c.customer_key
        from pg_temp.cohort_scope s
        join public.customers c
            on c.organization_id = s.organization_id and c.registered_at >= s.from_at and c.registered_at < s.to_at
        union
        select m.organization_id, m.member
        from pg_temp.cohort_scope s
        join public.cohort_members m
            on m.organization_id = s.organization_id and m.cohort_type = 'signup'
           and m.anchor_date >= s.from_date and m.anchor_date <= s.to_date
        where m.member like 'customer:%'
        union
        select u.organization_id, p.member
        from pg_temp.cohort_users u
        join public.cohort_persons p on p.organization_id = u.organization_id and p.person = u.member
        union
        select u.organization_id, 'customer:' || c.data_source_id || ':' || c.customer_key
        from pg_temp.cohort_users u
        join public.data_sources d on d.organization_id = u.organization_id and d.source_type in ('woocommerce', 'shopify')
        join public.customers c
            on c.organization_id = u.organization_id and c.data_source_id = d.id and c.customer_key = 'id:' || u.user_id
        union
        select u.organization_id, 'customer:' || c.data_source_id || ':' || c.customer_key
        from pg_temp.cohort_users u
        join public.data_sources d on d.organization_id = u.organization_id and d.source_type in ('woocommerce', 'shopify')
        join public.customers c
            on c.organization_id = u.organization_id and c.data_source_id = d.id and c.email_hash = u.email_hash
    ) k
    left join public.customers c
        on c.organization_id = k.organization_id and c.data_source_id = substr(k.member, 10, 36)::uuid
       and c.customer_key = substr(k.member, 47) collate "default";
    analyze pg_temp.cohort_customers (organization_id, member);
end $$;

-- Which user a customer is: the one with the same id, else the one with the same e-mail address (of several the first by
-- id). Leaves changes in pg_temp.cohort_person_changes (a person null: none).
create or replace function private.link_cohort_persons() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    create temp table cohort_person_changes on commit drop as
    select c.organization_id, c.member, 'user:' || n.user_id as person, p.person as old_person
    from pg_temp.cohort_customers c
    left join public.visitors same
        on same.organization_id = c.organization_id and same.visitor_id = c.customer_id and same.user_id is not null
    cross join lateral (
        select coalesce(same.visitor_id::text, (
            select min(v.visitor_id collate "C") from public.visitors v
            where v.organization_id = c.organization_id and v.email_hash = c.email_hash and v.user_id is not null)) as user_id
    ) n
    left join public.cohort_persons p on p.organization_id = c.organization_id and p.member = c.member
    where p.person is distinct from 'user:' || n.user_id;

    delete from public.cohort_persons p
    using pg_temp.cohort_person_changes c
    where c.person is null and p.organization_id = c.organization_id and p.member = c.member;
    insert into public.cohort_persons as p (organization_id, member, person)
    select c.organization_id, c.member, c.person
    from pg_temp.cohort_person_changes c
    where c.person is not null
    order by 1, 2
    on conflict (organization_id, member) do update set person = excluded.person;
end $$;

-- Into public.cohort_members, what differs. Leaves everybody who was looked at in pg_temp.cohort_anchors, and who moved in
-- pg_temp.cohort_anchor_changes.
create or replace function private.anchor_cohort_members() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off as $$
begin
    -- Users with the customers that they are, also those that were not looked at.
    create temp table cohort_signups on commit drop as
    select t.organization_id, t.member, t.signed_up_at from pg_temp.cohort_users t
    union
    select c.organization_id, k.person, v.signed_up_at
    from (
        select c.organization_id, c.member, c.person from pg_temp.cohort_person_changes c
        union
        select c.organization_id, c.member, c.old_person from pg_temp.cohort_person_changes c
        union
        select p.organization_id, p.member, p.person
        from pg_temp.cohort_customers c
        join public.cohort_persons p on p.organization_id = c.organization_id and p.member = c.member
    ) k (organization_id, member, person)
    join pg_temp.cohort_scope c using (organization_id)
    left join public.visitors v
        on v.organization_id = k.organization_id and v.visitor_id = substr(k.person, 6) collate "default" and v.user_id is not null
    where k.person is not null;

    create temp table cohort_anchors on commit drop as
    select k.organization_id, k.cohort_type, k.member, k.anchor_date
    from (
        select u.organization_id, 'first_visit' as cohort_type, u.member, (u.first_seen_at at time zone s.time_zone)::date as anchor_date
        from pg_temp.cohort_users u join pg_temp.cohort_scope s using (organization_id)
        union all
        select u.organization_id, 'signup', u.member, (least(u.signed_up_at, r.registered_at) at time zone s.time_zone)::date
        from pg_temp.cohort_signups u
        join pg_temp.cohort_scope s using (organization_id)
        left join (
            select t.organization_id, t.member, min(c.registered_at) as registered_at
            from pg_temp.cohort_signups t
            join public.cohort_persons p on p.organization_id = t.organization_id and p.person = t.member
            join public.customers c
                on c.organization_id = p.organization_id and c.data_source_id = substr(p.member, 10, 36)::uuid
               and c.customer_key = substr(p.member, 47) collate "default"
            group by 1, 2
        ) r on r.organization_id = u.organization_id and r.member = u.member
        union all
        select c.organization_id, 'signup', c.member,
               case when p.person is null then (c.registered_at at time zone s.time_zone)::date end
        from pg_temp.cohort_customers c
        join pg_temp.cohort_scope s using (organization_id)
        left join public.cohort_persons p on p.organization_id = c.organization_id and p.member = c.member
        union all
        select k.organization_id, 'first_purchase', k.member, a.first_date
        from (
            select l.organization_id, l.member from pg_temp.cohort_lines l
            union
            select c.organization_id, c.member from pg_temp.cohort_order_changes c
            union
            select m.organization_id, m.member
            from pg_temp.cohort_scope s
            join public.cohort_members m
                on m.organization_id = s.organization_id and m.cohort_type = 'first_purchase'
               and m.anchor_date >= s.from_date and m.anchor_date <= s.to_date
        ) k
        join pg_temp.cohort_scope s using (organization_id)
        cross join lateral (
            select min(o.date) as first_date
            from public.cohort_orders o
            where o.organization_id = k.organization_id and o.member = k.member and o.is_order
              and s.has_orders = (o.member like 'customer:%')
        ) a
    ) k;
    analyze pg_temp.cohort_anchors (organization_id, member);

    create temp table cohort_anchor_changes on commit drop as
    select n.organization_id, n.cohort_type, n.member, n.anchor_date as new_date, m.anchor_date as old_date
    from pg_temp.cohort_anchors n
    -- (One by one, as above.)
    left join (
        select k.organization_id, k.member, m.cohort_type, m.anchor_date
        from (select distinct organization_id, member from pg_temp.cohort_anchors) k
        cross join lateral (
            select m.cohort_type::text, m.anchor_date from public.cohort_members m
            where m.organization_id = k.organization_id and m.member = k.member
            offset 0
        ) m
    ) m on m.organization_id = n.organization_id and m.member = n.member and m.cohort_type = n.cohort_type
    where n.anchor_date is distinct from m.anchor_date;
    analyze pg_temp.cohort_anchor_changes (organization_id, cohort_type);

    delete from public.cohort_members m
    using pg_temp.cohort_anchor_changes c
    where c.new_date is null and m.organization_id = c.organization_id and m.cohort_type = c.cohort_type and m.member = c.member;
    insert into public.cohort_members (organization_id, cohort_type, member, anchor_date)
    select c.organization_id, c.cohort_type, c.member, c.new_date
    from pg_temp.cohort_anchor_changes c
    where c.old_date is null
    order by 1, 3, 2;
    update public.cohort_members m set anchor_date = c.new_date
    from pg_temp.cohort_anchor_changes c
    where c.new_date is not null and c.old_date is not null
      and m.organization_id = c.organization_id and m.member = c.member and m.cohort_type = c.cohort_type;
end $$;
