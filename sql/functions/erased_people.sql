-- By what somebody who was erased is known when their data comes again, and what stands in its place.
--
-- Scopes: site (ids of tracking clients, as they are kept), email (the hash of an address, hex), or a source's id (customers of
-- that store). All are cheap where nobody was erased: one look at a small table.

create or replace function private.erased_digest(salt bytea, scope text, plain text) returns bytea
language sql immutable parallel safe set search_path = '' as $$
    select sha256(salt || convert_to(scope || ':' || plain, 'UTF8'))
$$;

-- What stands in the place of an id; null where it is nobody's who was erased.
create or replace function private.erased_token(organization uuid, scope text, plain text) returns text
language sql stable set search_path = '' as $$
    select e.token
    from public.erasure_salts s
    join public.erased_ids e
        on e.organization_id = s.organization_id and e.digest = private.erased_digest(s.salt, erased_token.scope, erased_token.plain)
    where s.organization_id = organization
$$;

-- The same for a thing of an erased person that no list has, the same one each time: a session's id, a new device's.
create or replace function private.made_token(organization uuid, kind text, plain text) returns text
language sql stable set search_path = '' as $$
    select 'erased_' || left(encode(private.erased_digest(s.salt, 'made ' || kind, plain), 'hex'), 32)
    from public.erasure_salts s where s.organization_id = organization and plain is not null
$$;

-- An address in a record of an erased person: its own token, or (another address than theirs) one made of it.
create or replace function private.erased_address(organization uuid, email_hash bytea) returns text
language sql stable set search_path = '' as $$
    select coalesce(private.erased_token(organization, 'email', encode(email_hash, 'hex')),
                    substr(private.made_token(organization, 'address', encode(email_hash, 'hex')), 8) || '@erased.invalid')
$$;

create or replace function private.has_erased(organization_ids uuid[]) returns boolean
language sql stable set search_path = '' as $$
    select exists (select from public.erased_ids e where e.organization_id = any (organization_ids))
$$;

-- What may be an address or the hash of one in a text, JSON or not: values between quotation marks, and what stands between signs that no
-- address has. Each is looked at once, so that it takes as long as the text is, whatever somebody wrote.
create or replace function private.addresses_in(value text) returns table (address text)
language sql immutable parallel safe set search_path = '' as $$
    select distinct a.address
    from string_to_table(value, '"') as t (text)
    cross join lateral (
        -- (Of what JSON escapes.)
        select regexp_replace(regexp_replace(t.text, '\\[nrtbf/\\]|\\$', ' ', 'g'), '%(25)*40', '@', 'g') as text
        where t.text like '%@%' or t.text like '%\%%40%' or length(t.text) >= 64 and t.text ~ '[0-9a-f]{64}'
        offset 0
    ) c
    cross join lateral (
        select btrim(c.text) as address
        union all
        select regexp_replace(p.part, '[.!*{}]+$', '') from regexp_split_to_table(c.text, '[\s<>()\[\]"'',;:/?=&#]+') as p (part)
    ) a
    where a.address like '%_@_%' and length(a.address) <= 400 or length(a.address) >= 64 and a.address ~ '[0-9a-f]{64}'
$$;

create or replace function private.text_speaks_of_erased(organization uuid, value text) returns boolean
language sql stable set search_path = '' set jit = off as $$
    -- (private.email_hash and private.erased_digest in place: called for each address they were most of the time.)
    select exists (
        select from private.addresses_in(value) k
        cross join lateral (
            select encode(sha256(convert_to(organization::text || ':' || lower(k.address), 'UTF8')), 'hex') as hash
            where k.address like '%@%'
            union all
            select m[1] from regexp_matches(k.address, '([0-9a-f]{64})', 'g') m where length(k.address) >= 64
        ) h
        join public.erasure_salts z on z.organization_id = organization
        join public.erased_ids e
            on e.organization_id = organization and e.digest = sha256(z.salt || convert_to('email:' || h.hash, 'UTF8')))
$$;

-- A text in which addresses of erased people, and their hashes, gave way to what stands for them; anything else as it is. It may be
-- JSON: what is escaped by a backslash is no part of an address.
create or replace function private.hide_erased(organization uuid, value text) returns text
language sql stable set search_path = '' as $$
    select case when private.text_speaks_of_erased(organization, value) is not true then value else (
        select string_agg(p.part || coalesce(r.replacement || k.tail, m.found[1], ''), '' order by p.place)
        from regexp_split_to_table(value, e.pattern) with ordinality as p (part, place)
        left join regexp_matches(value, e.pattern, 'g') with ordinality as m (found, place) on m.place = p.place
        -- What ends a sentence is no part of the address.
        left join lateral (
            select regexp_replace(m.found[1], '[.!*{}]+$', '') as core, substring(m.found[1] from '[.!*{}]+$') as tail
        ) c on true
        left join lateral (select coalesce(c.tail, '') as tail) k on true
        left join lateral (
            select case when h.is_hash then encode(private.email_hash(organization, t.token), 'hex') else t.token end as replacement
            from (select c.core ~ '^[0-9a-f]{64}$' as is_hash) h
            cross join lateral (
                select private.erased_token(organization, 'email', case when h.is_hash then c.core
                    else encode(private.email_hash(organization, regexp_replace(c.core, '%(25)*40', '@')), 'hex') end) as token
            ) t
            where t.token is not null
        ) r on true) end
    from (values ('(\\.|[0-9a-f]{64}|[^\s@<>()\[\]"'',;:/?=&#\\]{1,64}(?:@|%(?:25)*40)[^\s@<>()\[\]"'',;:/?=&#\\]+)')) as e (pattern)
$$;
