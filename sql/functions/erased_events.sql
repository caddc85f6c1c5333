-- What is kept of a tracked event whose person was erased: what sessions, aggregates and the organisation's funnels read.

-- What the organisation's funnels ask of events: the patterns of pages, as private.find_funnel_moves reads them, and the properties.
create or replace function private.asked_pages(organization uuid) returns text[]
language sql stable set search_path = '' as $$
    select array(
        select distinct replace(replace(replace(replace(s.step ->> 'page', '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
        from public.funnels f cross join lateral jsonb_array_elements(f.steps) as s (step)
        where f.organization_id = organization and s.step ? 'page')
$$;

create or replace function private.asked_properties(organization uuid) returns jsonb[]
language sql stable set search_path = '' as $$
    select array(
        select distinct jsonb_build_object(p.key, p.value)
        from public.funnels f
        cross join lateral jsonb_array_elements(f.steps) as s (step)
        cross join lateral jsonb_each(case jsonb_typeof(s.step -> 'properties') when 'object' then s.step -> 'properties' else '{}' end) p
        where f.organization_id = organization)
$$;

-- The address of a page without query and fragment, ids of anybody who was erased left out of it. Where a funnel of the organisation would judge
-- that otherwise, the names of the query stay; and its values only where a funnel asks for these.
create or replace function private.bare_url(organization uuid, url text, pages text[]) returns text
language plpgsql stable set search_path = '' set jit = off as $$
declare
    named text := url;
    asked text[];
    shorter text;
begin
    if url is null then
        return null;
    end if;
    if exists (
        select from regexp_split_to_table(url, '[/?#&=]+') as p (part)
        join public.erasure_salts z on z.organization_id = organization
        join public.erased_ids e
            on e.organization_id = organization and e.digest = sha256(z.salt || convert_to('site:' || p.part, 'UTF8'))
    ) then
        named := (
            select string_agg(case when private.erased_token(organization, 'site', m[1]) is null then m[1] else 'erased' end, '' order by place)
            from regexp_matches(url, '[^/?#&=]+|[/?#&=]', 'g') with ordinality as k (m, place));
    end if;
    -- (Most have no sign of an address.)
    if named ~ '@|%(25)*40' or length(named) >= 64 then
        named := private.hide_erased(organization, named);
    end if;
    shorter := split_part(split_part(named, '#', 1), '?', 1);
    if shorter = named then
        return shorter;
    end if;
    asked := private.pages_of(url, pages);
    if private.pages_of(shorter, pages) = asked then
        return shorter;
    end if;
    shorter := regexp_replace(split_part(named, '#', 1), '=[^&]*', '=', 'g');
    return case when private.pages_of(shorter, pages) = asked then shorter else named end;
end $$;

-- Those of the patterns that an address matches: as a whole, or by its path.
create or replace function private.pages_of(url text, pages text[]) returns text[]
language sql immutable parallel safe set search_path = '' as $$
    select array(
        select p.page from unnest(pages) as p (page)
        where url like p.page
           or coalesce(nullif(regexp_replace(split_part(split_part(url, '#', 1), '?', 1),
                                             '^[A-Za-z][A-Za-z0-9+.-]*://[^/]*', ''), ''), '/') like p.page
        order by 1)
$$;

-- Of the properties those that a step of a funnel asks for and finds; of the person when they signed up, and the hash of a token.
create or replace function private.bare_metadata(organization uuid, metadata jsonb, asked jsonb[]) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
    kept jsonb := '{}';
begin
    if metadata ? 'properties' then
        kept := jsonb_build_object('properties', coalesce((
            select jsonb_object_agg(e.key, e.value)
            from unnest(asked) as a (one)
            cross join lateral jsonb_object_keys(a.one) as k (key)
            cross join lateral (select k.key, metadata #> array['properties', k.key] as value) e
            where metadata -> 'properties' @> a.one), '{}'));
    end if;
    if metadata ? 'person' then
        kept := kept || jsonb_build_object('person', jsonb_strip_nulls(jsonb_build_object(
            'signed_up_at', metadata #> '{person,signed_up_at}',
            'email_hash', case when metadata #>> '{person,email_hash}' ~ '^[0-9a-f]{64}$' then encode(private.email_hash(organization,
                private.erased_address(organization, decode(metadata #>> '{person,email_hash}', 'hex'))), 'hex') end)));
    end if;
    return kept;
end $$;

-- Staged messages of people who were erased, under the names that stand for them. Called by private.store_events in the turn of the
-- organisations; returns whether there were any. Of a device that is new with an erased user a name is made; one that was
-- erased links nobody else to what it did.
create or replace function private.rename_staged_events(organization_ids uuid[]) returns boolean
language plpgsql set search_path = '' set client_min_messages = warning set jit = off as $$
declare
    renamed bigint;
begin
    if not private.has_erased(organization_ids) then
        return false;
    end if;
    -- (Each id once, not once an event.)
    drop table if exists pg_temp.erased_senders;
    create temp table erased_senders on commit drop as
    select k.organization_id, k.id, private.erased_token(k.organization_id, 'site', k.id) as token
    from (
        select s.organization_id, i.id
        from pg_temp.staged_events s cross join lateral (values (s.user_id), (s.anonymous_id), (s.previous_id)) i (id)
        where i.id is not null
        group by 1, 2
    ) k;
    delete from pg_temp.erased_senders e where e.token is null;
    -- Another id of theirs, or somebody else, with an address that was erased.
    update pg_temp.staged_events s
    set email_hash = private.email_hash(s.organization_id, k.token), event_label = null,
        metadata = private.bare_metadata(s.organization_id, s.metadata, private.asked_properties(s.organization_id))
    from (
        select h.organization_id, h.email_hash, private.erased_token(h.organization_id, 'email', encode(h.email_hash, 'hex')) as token
        from (select distinct q.organization_id, q.email_hash from pg_temp.staged_events q where q.email_hash is not null) h
    ) k
    where k.token is not null and s.organization_id = k.organization_id and s.email_hash = k.email_hash
      and coalesce(s.user_id, s.anonymous_id) not in (
          select e.id from pg_temp.erased_senders e where e.organization_id = s.organization_id);
    get diagnostics renamed = row_count;
    if not exists (select from pg_temp.erased_senders) then
        return renamed > 0;
    end if;
    analyze pg_temp.erased_senders;
    update pg_temp.staged_events s
    set user_id = k.user_token,
        anonymous_id = case when s.user_id is null or k.user_token is not null
            then coalesce(k.anonymous_token, private.made_token(s.organization_id, 'id', s.anonymous_id)) end,
        previous_id = coalesce(k.previous_token, private.made_token(s.organization_id, 'id', s.previous_id)),
        own_session_id = private.made_token(s.organization_id, 'session', case
            when s.own_session_id ~ '^s_[0-9a-f]{24}$' then 'own_' || s.own_session_id else s.own_session_id end),
        event_label = null, referrer = null, user_agent = null, ip_address = null, city = null,
        email_hash = private.email_hash(s.organization_id, private.erased_address(s.organization_id, s.email_hash)),
        page_url = private.bare_url(s.organization_id, s.page_url, private.asked_pages(s.organization_id)),
        metadata = private.bare_metadata(s.organization_id, s.metadata, private.asked_properties(s.organization_id))
    from (
        select s.ctid as place, u.token as user_token, a.token as anonymous_token, p.token as previous_token
        from pg_temp.staged_events s
        left join pg_temp.erased_senders u on u.organization_id = s.organization_id and u.id = s.user_id
        left join pg_temp.erased_senders a on a.organization_id = s.organization_id and a.id = s.anonymous_id
        left join pg_temp.erased_senders p on p.organization_id = s.organization_id and p.id = s.previous_id
        where u.token is not null or s.user_id is null and a.token is not null
    ) k
    where s.ctid = k.place;
    -- Somebody else, on a device of an erased person.
    update pg_temp.staged_events s
    set anonymous_id = case when s.anonymous_id in (select e.id from pg_temp.erased_senders e where e.organization_id = s.organization_id)
            then null else s.anonymous_id end,
        previous_id = case when s.previous_id in (select e.id from pg_temp.erased_senders e where e.organization_id = s.organization_id)
            then null else s.previous_id end
    where s.user_id is not null
      and exists (select from pg_temp.erased_senders e
                  where e.organization_id = s.organization_id and e.id in (s.anonymous_id, s.previous_id));
    return true;
end $$;
