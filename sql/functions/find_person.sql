-- Everything by which one person of an organisation is known.
--
-- From a site's id or the hash of an address on: ids that are known as the same visitor (event_identities, both ways), visitors with
-- one of the addresses, customers whose own record has one of them, and customers and visitors of the same id, as cohorts take them
-- for one person. Two of the same id whose addresses say that they are two stay two. A customer of whom the store tells no address
-- is the one whose order has it. Another's order that was placed with the address makes nobody the same person.
-- Fills pg_temp.person_ids, pg_temp.person_emails and pg_temp.person_customers.
create or replace function private.find_person(organization uuid, given_ids text[], given_hashes bytea[]) returns void
language plpgsql set search_path = '' set timezone = 'UTC' set client_min_messages = warning set jit = off as $$
declare
    ids bigint;
    emails bigint;
    customers bigint;
begin
    drop table if exists pg_temp.person_ids, pg_temp.person_emails, pg_temp.person_customers, pg_temp.person_open;
    create temp table person_ids (id text primary key) on commit drop;
    create temp table person_emails (hash bytea primary key) on commit drop;
    create temp table person_customers (data_source_id uuid, id text, primary key (data_source_id, id)) on commit drop;
    -- What pages say that were not taken in yet.
    create temp table person_open on commit drop as
    select r.data_source_id, r.customer_id, private.email_hash(organization, r.email) as email_hash, p.stream = 'customers' as is_record
    from public.raw_data_backup p
    cross join lateral private.people_on_page(p.source, p.stream, p.raw_data) k
    cross join lateral (select p.data_source_id, k.customer_id, k.email) r
    where p.organization_id = organization and p.source in ('woocommerce', 'shopify') and not p.processed
      and r.customer_id is not null and r.email like '%@%';
    insert into pg_temp.person_ids select distinct g.id from unnest(given_ids) g (id) where g.id is not null;
    insert into pg_temp.person_emails select distinct g.hash from unnest(given_hashes) g (hash) where g.hash is not null;
    loop
        insert into pg_temp.person_ids (id)
        select i.user_id from public.event_identities i
        join pg_temp.person_ids p on p.id = i.known_as where i.organization_id = organization
        union
        select i.known_as from public.event_identities i
        join pg_temp.person_ids p on p.id = i.user_id where i.organization_id = organization
        union
        select v.visitor_id from public.visitors v
        join pg_temp.person_emails e on e.hash = v.email_hash where v.organization_id = organization
        union
        select 'email:' || encode(e.hash, 'hex') from pg_temp.person_emails e
        union
        select v.visitor_id from public.visitors v
        join pg_temp.person_customers c on c.id = v.visitor_id
        where v.organization_id = organization and v.user_id is not null
          and (v.email_hash is null or v.email_hash in (select e.hash from pg_temp.person_emails e))
        on conflict do nothing;
        get diagnostics ids = row_count;

        insert into pg_temp.person_emails (hash)
        select v.email_hash from public.visitors v
        join pg_temp.person_ids p on p.id = v.visitor_id where v.organization_id = organization and v.email_hash is not null
        union
        select decode(e.metadata #>> '{person,email_hash}', 'hex') from public.event_tracking e
        join pg_temp.person_ids p on p.id = e.visitor_id
        where e.organization_id = organization and e.metadata #>> '{person,email_hash}' ~ '^([0-9a-f]{2})+$'
        union
        select c.email_hash from public.customers c
        join pg_temp.person_customers p on p.data_source_id = c.data_source_id and c.customer_key = 'id:' || p.id
        where c.organization_id = organization and c.email_hash is not null
        union
        select k.email_hash from pg_temp.person_open k
        join pg_temp.person_customers p on p.data_source_id = k.data_source_id and p.id = k.customer_id
        where k.is_record
        on conflict do nothing;
        get diagnostics emails = row_count;

        insert into pg_temp.person_customers (data_source_id, id)
        select c.data_source_id, c.customer_id from public.customers c
        join pg_temp.person_emails e on e.hash = c.email_hash
        where c.organization_id = organization and c.customer_id is not null
        union
        select c.data_source_id, c.customer_id from public.customers c
        join pg_temp.person_ids p on p.id = c.customer_id
        where c.organization_id = organization
          and (c.email_hash is null or c.email_hash in (select e.hash from pg_temp.person_emails e)
               or not exists (select from pg_temp.person_emails))
        union
        select o.data_source_id, o.customer_id from public.orders o
        join pg_temp.person_emails e on e.hash = o.email_hash
        join public.customers c
            on c.organization_id = o.organization_id and c.data_source_id = o.data_source_id and c.customer_key = o.customer_key
        where o.organization_id = organization and o.customer_id is not null and c.email_hash is null
        union
        select k.data_source_id, k.customer_id from pg_temp.person_open k
        where (k.email_hash in (select e.hash from pg_temp.person_emails e)
               or k.customer_id in (select p.id from pg_temp.person_ids p) and not exists (select from pg_temp.person_emails))
          -- Whose own record has another address has only ordered with this one.
          and (k.is_record or not exists (
              select from (
                  select c.email_hash from public.customers c
                  where c.organization_id = organization and c.data_source_id = k.data_source_id and c.customer_key = 'id:' || k.customer_id
                  union all
                  select o.email_hash from pg_temp.person_open o
                  where o.is_record and o.data_source_id = k.data_source_id and o.customer_id = k.customer_id
              ) c
              where c.email_hash not in (select e.hash from pg_temp.person_emails e)))
        on conflict do nothing;
        get diagnostics customers = row_count;
        exit when ids + emails + customers = 0;
    end loop;
end $$;

-- The ids and addresses of the person in public.erased_ids, with random tokens in their order: of ids the tokens stand as these
-- do, of addresses the hashes of the tokens as theirs do. Where one of several counts (the first customer with an address, the
-- lowest hash of a visitor) it is the same one after the renaming. One known by several stores, and the site, has one token.
create or replace function private.list_person(organization uuid, erasure uuid) returns void
language plpgsql set search_path = '' as $$
begin
    insert into public.erasure_salts (organization_id, salt)
    values (organization, decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
    on conflict do nothing;
    with plains as (
        select p.plain, row_number() over (order by p.plain collate "C") as place
        from (select i.id as plain from pg_temp.person_ids i union select c.id from pg_temp.person_customers c) p
    ), fresh as (
        select t.token, row_number() over (order by t.token collate "C") as place
        from (select 'erased_' || replace(gen_random_uuid()::text, '-', '') as token from plains) t
    ), scopes as (
        select 'site' as scope
        union all select d.id::text from public.data_sources d where d.organization_id = organization
    ), named as (
        select p.plain, coalesce(
                   (select min(private.erased_token(organization, s.scope, p.plain)) from scopes s), f.token) as token
        from plains p join fresh f using (place)
    )
    insert into public.erased_ids as e (organization_id, erasure, digest, token, scope, plain)
    select organization, list_person.erasure, private.erased_digest(z.salt, k.scope, k.plain), n.token, k.scope, k.plain
    from (
        select 'site' as scope, i.id as plain from pg_temp.person_ids i
        union all
        select c.data_source_id::text, c.id from pg_temp.person_customers c
    ) k
    join named n using (plain)
    join public.erasure_salts z on z.organization_id = organization
    on conflict (organization_id, digest) do update set scope = excluded.scope, plain = excluded.plain;

    with plains as (
        select e.hash, row_number() over (order by e.hash) as place from pg_temp.person_emails e
    ), fresh as (
        select t.token, row_number() over (order by private.email_hash(organization, t.token)) as place
        from (select replace(gen_random_uuid()::text, '-', '') || '@erased.invalid' as token from plains) t
    )
    insert into public.erased_ids as e (organization_id, erasure, digest, token, scope, plain)
    select organization, list_person.erasure, private.erased_digest(z.salt, 'email', encode(p.hash, 'hex')), f.token, 'email', encode(p.hash, 'hex')
    from plains p
    join fresh f using (place)
    join public.erasure_salts z on z.organization_id = organization
    on conflict (organization_id, digest) do update set scope = excluded.scope, plain = excluded.plain;
end $$;
