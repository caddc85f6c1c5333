-- Who ordered: pages of GET /wc/v3/customers, the identity of guests, and each customer's first order.
-- Called by public.ingest_orders.

create or replace function private.parse_woocommerce_customers() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    insert into pg_temp.parsed_customers
    select p.organization_id, p.data_source_id, p.page_id, p.fetched_at, p.window_start, p.window_end,
           t.customer_id, private.email_hash(p.organization_id, r.record ->> 'email'), t.registered_at,
           coalesce(t.modified_at, t.registered_at, p.fetched_at), v.problem_field, v.problem,
           case when v.problem is not null then r.record end
    from pg_temp.open_pages p
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(p.raw_data) when 'array' then p.raw_data else jsonb_build_array(p.raw_data) end) as r (record)
    cross join lateral (
        select private.parse_id(nullif(r.record ->> 'id', '0')) as customer_id,
               coalesce(private.parse_timestamp(r.record ->> 'date_created_gmt') at time zone 'UTC',
                        private.parse_timestamp(r.record ->> 'date_created') at time zone p.time_zone) as registered_at,
               coalesce(private.parse_timestamp(r.record ->> 'date_modified_gmt') at time zone 'UTC',
                        private.parse_timestamp(r.record ->> 'date_modified') at time zone p.time_zone) as modified_at
    ) t
    cross join lateral (
        select case
            when jsonb_typeof(r.record) <> 'object' then 'record'
            when t.customer_id is null then 'id'
            when t.registered_at is null and coalesce(r.record ->> 'date_created_gmt', '') <> '' then 'date_created_gmt'
        end as problem_field
    ) f
    cross join lateral (
        select f.problem_field, case when f.problem_field is not null then format(
            'customer %s: %s is %s, which is not %s', coalesce(t.customer_id, '(no id)'), f.problem_field,
            left(private.hide_emails(p.organization_id, coalesce(case f.problem_field when 'record' then r.record::text
                          else (r.record -> f.problem_field)::text end, 'missing')), 80),
            case f.problem_field when 'record' then 'a customer' when 'id' then 'an id' else 'a date and time' end)
            end as problem
    ) v
    where p.source = 'woocommerce' and p.stream = 'customers';
end $$;

create or replace function private.apply_woocommerce_customers() returns void
language plpgsql set search_path = '' set timezone = 'UTC' as $$
begin
    create temp table changed_customers on commit drop as
    select n.*, old.email_hash as old_email_hash, old.registered_at as old_registered_at, old.first_order_at
    from (
        select distinct on (p.organization_id, p.data_source_id, p.customer_id) p.*, 'id:' || p.customer_id as customer_key
        from pg_temp.parsed_customers p
        where p.problem is null
        order by p.organization_id, p.data_source_id, p.customer_id, p.modified_at desc, p.fetched_at desc
    ) n
    left join public.customers old using (organization_id, data_source_id, customer_key)
    where old.modified_at is null
       or n.modified_at >= old.modified_at
          and (n.email_hash, n.registered_at, n.modified_at) is distinct from
              (old.email_hash, old.registered_at, old.modified_at);

    insert into public.customers as c
        (organization_id, data_source_id, customer_key, customer_id, email_hash, registered_at, modified_at, channel_id)
    select n.organization_id, n.data_source_id, n.customer_key, n.customer_id, n.email_hash, n.registered_at,
           n.modified_at, 3
    from pg_temp.changed_customers n
    order by 1, 2, 3
    on conflict (organization_id, data_source_id, customer_key) do update set
        email_hash = excluded.email_hash, registered_at = excluded.registered_at, modified_at = excluded.modified_at;

    -- A customer who never orders touches no hour, and yet signed up on a day.
    perform private.mark_cohort_days(array_agg(n.organization_id), array_agg(e.at))
    from pg_temp.changed_customers n
    cross join lateral (values (n.registered_at), (n.old_registered_at), (n.first_order_at)) e (at)
    where e.at is not null and (n.registered_at, n.email_hash) is distinct from (n.old_registered_at, n.old_email_hash);

    insert into pg_temp.touched_emails
    select n.organization_id, n.data_source_id, e.email_hash
    from pg_temp.changed_customers n
    cross join lateral (values (n.email_hash), (n.old_email_hash)) e (email_hash)
    where e.email_hash is not null;
end $$;

-- A guest's order belongs to the registered customer with the same e-mail address, known from the customer's own
-- record or from an order of theirs; of several the smallest id. Else to the address itself.
create or replace function private.identify_guests() returns void
language plpgsql set search_path = '' as $$
begin
    create temp table identified on commit drop as
    select e.organization_id, e.data_source_id, e.email_hash,
           coalesce('id:' || least(
                        (select min(c.customer_id) from public.customers c
                         where c.organization_id = e.organization_id and c.data_source_id = e.data_source_id
                           and c.email_hash = e.email_hash),
                        (select min(o.customer_id) from public.orders o
                         where o.organization_id = e.organization_id and o.data_source_id = e.data_source_id
                           and o.email_hash = e.email_hash)),
                    'email:' || encode(e.email_hash, 'hex')) as customer_key
    from (select distinct organization_id, data_source_id, email_hash from pg_temp.touched_emails) e;

    -- What was given back on other days moves with the order, from one cohort's member to another.
    perform private.mark_cohort_days(array_agg(m.organization_id), array_agg(m.occurred_at))
    from (
        select o.organization_id, k.occurred_at
        from pg_temp.identified i
        join public.orders o using (organization_id, data_source_id, email_hash)
        cross join lateral (
            select r.occurred_at from public.refunds r
            where r.organization_id = o.organization_id and r.data_source_id = o.data_source_id and r.order_id = o.order_id
            union all
            select s.occurred_at from public.order_sales s
            where s.organization_id = o.organization_id and s.data_source_id = o.data_source_id and s.order_id = o.order_id
        ) k
        where o.customer_id is null and o.customer_key is distinct from i.customer_key
    ) m;

    with moved as (
        select o.organization_id, o.data_source_id, o.order_id, o.bucket_at, o.customer_key as old_key, i.customer_key
        from pg_temp.identified i
        join public.orders o using (organization_id, data_source_id, email_hash)
        where o.customer_id is null and o.customer_key is distinct from i.customer_key
    ), written as (
        update public.orders o set customer_key = m.customer_key
        from moved m
        where (o.organization_id, o.data_source_id, o.order_id) = (m.organization_id, m.data_source_id, m.order_id)
    ), customers_moved as (
        insert into pg_temp.touched_customers
        select m.organization_id, m.data_source_id, k.customer_key
        from moved m cross join lateral (values (m.old_key), (m.customer_key)) k (customer_key)
        where k.customer_key is not null
    )
    insert into pg_temp.touched_hours select m.organization_id, m.bucket_at from moved m;
end $$;

-- Each touched customer's first order that counts. Moving it moves customers_new from one hour to another. A customer
-- without orders or a record of their own (a guest who turned out to be registered) is none any more.
create or replace function private.find_first_orders() returns void
language plpgsql set search_path = '' as $$
begin
    create temp table first_orders on commit drop as
    select k.organization_id, k.data_source_id, k.customer_key, n.first_order_at, n.first_order_bucket,
           n.customer_id, n.channel_id, c.first_order_bucket as old_bucket, n.orders > 0 or c.modified_at is not null as is_known
    from (select distinct organization_id, data_source_id, customer_key from pg_temp.touched_customers) k
    cross join lateral (
        select count(*) as orders,
               min(o.occurred_at) filter (where o.is_counted) as first_order_at,
               min(o.bucket_at) filter (where o.is_counted) as first_order_bucket,
               min(o.customer_id) as customer_id, min(o.channel_id) as channel_id
        from public.orders o
        where o.organization_id = k.organization_id and o.data_source_id = k.data_source_id
          and o.customer_key = k.customer_key
    ) n
    left join public.customers c using (organization_id, data_source_id, customer_key)
    where c.customer_key is null and n.orders > 0
       or c.customer_key is not null
          and (n.orders = 0 and c.modified_at is null
               or (c.first_order_at, c.first_order_bucket) is distinct from (n.first_order_at, n.first_order_bucket));

    delete from public.customers c
    using pg_temp.first_orders f
    where not f.is_known and c.organization_id = f.organization_id and c.data_source_id = f.data_source_id
      and c.customer_key = f.customer_key;
    insert into public.customers as c
        (organization_id, data_source_id, customer_key, customer_id, email_hash, first_order_at, first_order_bucket, channel_id)
    select f.organization_id, f.data_source_id, f.customer_key, f.customer_id,
           case when f.customer_key like 'email:%' then decode(substr(f.customer_key, 7), 'hex') end,
           f.first_order_at, f.first_order_bucket, f.channel_id
    from pg_temp.first_orders f
    where f.is_known
    order by 1, 2, 3
    on conflict (organization_id, data_source_id, customer_key) do update set
        first_order_at = excluded.first_order_at, first_order_bucket = excluded.first_order_bucket;

    insert into pg_temp.touched_hours
    select f.organization_id, h.bucket_at
    from pg_temp.first_orders f
    cross join lateral (values (f.first_order_bucket), (f.old_bucket)) h (bucket_at)
    where h.bucket_at is not null and f.first_order_bucket is distinct from f.old_bucket;
end $$;
