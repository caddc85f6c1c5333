-- The visitors of a batch: only those of whom it says something new. The earliest time at which each was seen and signed up, and
-- (of several e-mail addresses) the lowest hash, so that the order of arrival does not matter.
create or replace function private.write_visitors() returns void
language plpgsql set search_path = '' set timezone = 'UTC' set jit = off set plan_cache_mode = force_generic_plan as $$
begin
    with said as (
        -- Hardly any of a known visitor.
        select v.organization_id, v.visitor_id, r.first_at as first_seen_at, null::timestamptz as signed_up_at, null::bytea as email_hash,
               r.is_user or v.is_known as is_user
        from pg_temp.event_runs r
        join pg_temp.event_visitors v on v.organization_id = r.organization_id and v.sent_id = r.sent_id
        where v.first_seen_at is null or r.first_at < v.first_seen_at or v.user_id is null and (r.is_user or v.is_known)
        union all
        select v.organization_id, v.visitor_id, s."timestamp",
               case when s.event_name in ('Signed Up', 'Account Created') then least(s."timestamp", s.signed_up_at)
                    else s.signed_up_at end, s.email_hash, s.user_id is not null or v.is_known
        from pg_temp.staged_events s
        join pg_temp.event_visitors v
            on v.organization_id = s.organization_id and v.sent_id = coalesce(s.user_id, s.anonymous_id)
        where exists (select from pg_temp.event_runs r where r.says)
          and (s.signed_up_at is not null or s.event_name in ('Signed Up', 'Account Created') or s.email_hash is not null)
        union all
        select p.organization_id, p.visitor_id, p.first_seen_at, p.signed_up_at, p.email_hash, true
        from pg_temp.event_people p
    ), told as (
        select s.organization_id, s.visitor_id, min(s.first_seen_at) as first_seen_at, min(s.signed_up_at) as signed_up_at,
               decode(min(encode(s.email_hash, 'hex') collate "C"), 'hex') as email_hash, bool_or(s.is_user) as is_user
        from said s
        group by 1, 2
    ), stored as (
        select distinct v.organization_id, v.visitor_id, v.first_seen_at, v.signed_up_at, v.email_hash, v.user_id
        from pg_temp.event_visitors v
        where v.first_seen_at is not null
    ), changed as materialized (
        select t.organization_id, t.visitor_id, t.first_seen_at, t.signed_up_at, t.email_hash, t.is_user,
               s.first_seen_at as seen_before
        from told t
        left join stored s using (organization_id, visitor_id)
        where s.first_seen_at is null or t.first_seen_at < s.first_seen_at
           or t.signed_up_at < coalesce(s.signed_up_at, 'infinity') or t.email_hash is not null and s.email_hash is null
           or t.email_hash < s.email_hash or t.is_user and s.user_id is null
    ), moved_back as (
        insert into pg_temp.event_instants (organization_id, at)
        select c.organization_id, a.at
        from changed c
        cross join lateral (values (c.seen_before), (c.first_seen_at)) a (at)
        where a.at is not null and c.first_seen_at < coalesce(c.seen_before, 'infinity')
    )
    insert into public.visitors as v (organization_id, first_seen_at, signed_up_at, visitor_id, user_id, email_hash)
    select c.organization_id, c.first_seen_at, c.signed_up_at, c.visitor_id, case when c.is_user then c.visitor_id end, c.email_hash
    from changed c
    order by c.organization_id, c.visitor_id collate "C"
    on conflict (organization_id, visitor_id) do update set
        first_seen_at = least(v.first_seen_at, excluded.first_seen_at),
        signed_up_at = least(v.signed_up_at, excluded.signed_up_at),
        user_id = coalesce(v.user_id, excluded.user_id), email_hash = least(v.email_hash, excluded.email_hash);
end $$;
