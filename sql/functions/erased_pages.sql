-- What is kept of the records of people who were erased on raw pages: what taking them in reads. Names, addresses, telephones, notes,
-- coupons and whatever an extension adds are left out; ids and addresses give way to tokens, so that the page is taken in again to
-- the same rows. Other records stay as they are, but for an erased address that stands somewhere in them.

-- Customers on a page, with their addresses where the store tells them.
create or replace function private.people_on_page(source text, stream text, page jsonb)
returns table (customer_id text, email text)
language sql immutable set search_path = '' as $$
    select coalesce(private.parse_id(nullif(r.record ->> case stream when 'customers' then 'id' else 'customer_id' end, '0'))),
           case stream when 'customers' then r.record ->> 'email' else r.record #>> '{billing,email}' end
    from jsonb_array_elements(case jsonb_typeof(page) when 'array' then page else jsonb_build_array(page) end) as r (record)
    where source = 'woocommerce' and stream in ('orders', 'customers') and jsonb_typeof(r.record) = 'object'
$$;

-- Fields of an object that are kept, of those that it has: numbers and dates, codes where one belongs; whole are fields that are kept
-- whatever they hold.
-- What is none of these where one belongs may be anything: "erased" stands for it, and what was broken stays so.
create or replace function private.only_fields(value jsonb, fields text[], whole text[] default '{}') returns jsonb
language sql immutable parallel safe set search_path = '' as $$
    select case jsonb_typeof(value) when 'object' then (
               select coalesce(jsonb_object_agg(e.key, case
                          when e.key = any (whole) or jsonb_typeof(e.value) in ('number', 'boolean', 'null')
                               or jsonb_typeof(e.value) = 'string' and case when e.key = any (array[
                                   'id', 'legacyResourceId', 'status', 'currency', 'version', 'tax_class', 'currencyCode',
                                   'presentmentCurrencyCode', 'displayFinancialStatus', 'sourceName'])
                                   then e.value #>> '{}' ~ '^[A-Za-z0-9:/._-]{0,60}$'
                                   else e.value #>> '{}' ~ '^([0-9:.TZ +-]*|[+-]?[0-9.]+[eE][+-]?[0-9]+)$' end
                          then e.value else '"erased"' end), '{}')
               from jsonb_each(value) e where e.key = any (fields || whole)) end
$$;

-- The lines of a record. What is no list of lines is a broken record, and stays one.
create or replace function private.only_lines(record jsonb, lists text[]) returns jsonb
language sql immutable parallel safe set search_path = '' as $$
    select coalesce(jsonb_object_agg(f.name, (
        select coalesce(jsonb_agg(coalesce(private.only_fields(l.line, array[
            'id', 'product_id', 'variation_id', 'quantity', 'tax_class', 'subtotal', 'subtotal_tax', 'total', 'total_tax', 'price'],
            array['name', 'sku']), 'null') order by l.place), '[]')
        from jsonb_array_elements(record -> f.name) with ordinality as l (line, place))), '{}')
    from unnest(lists) as f (name)
    where jsonb_typeof(record -> f.name) = 'array'
$$;

-- Whether any of these refunds is of an order of somebody who was erased: a refund itself names nobody, and tells a reason.
create or replace function private.refunds_of_erased(organization uuid, source_id text, records jsonb) returns boolean
language sql stable set search_path = '' as $$
    select exists (
        select from jsonb_array_elements(records) as r (record)
        left join public.refunds f
            on f.organization_id = organization and f.data_source_id = source_id::uuid and f.refund_id = r.record ->> 'id'
        join public.orders o
            on o.organization_id = organization and o.data_source_id = source_id::uuid
           and o.order_id = coalesce(nullif(r.record ->> 'parent_id', '0'), f.order_id)
        where o.customer_id like 'erased\_%' or o.email_hash in (
            select private.email_hash(organization, e.token) from public.erased_ids e
            where e.organization_id = organization and e.token like '%@erased.invalid'))
$$;

-- Whether records of a store speak of somebody who was erased: by the customer's number, or by an address anywhere in them. (Found out
-- for all of a page at once, since it nearly never is so.)
create or replace function private.records_speak_of_erased(
    organization uuid, source_id text, source text, stream text, records jsonb) returns boolean
language plpgsql stable set search_path = '' set jit = off as $$
declare
    salt bytea := (select z.salt from public.erasure_salts z where z.organization_id = organization);
begin
    return exists (
        select from public.erased_ids e
        where e.organization_id = organization and e.digest in (
            select sha256(salt || convert_to(source_id || ':' || k.id, 'UTF8'))
            from (
                select case when source = 'shopify' then substring(r.record #>> '{customer,id}' from '([^/?]+)(\?[^/]*)?$')
                            when stream = 'customers' then r.record ->> 'id' when stream = 'orders' then r.record ->> 'customer_id' end as id
                from jsonb_array_elements(records) as r (record)
            ) k
            where k.id <> '0'
        )
    ) or private.text_speaks_of_erased(organization, records::text)
      or source = 'woocommerce' and stream = 'refunds' and private.refunds_of_erased(organization, source_id, records);
end $$;

-- A record of a store, as it may be kept. source_id: whose ids its customers are.
create or replace function private.redacted_record(
    organization uuid, source_id text, source text, stream text, record jsonb) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
    customer text;
    email bytea;
    token text;
    kept jsonb;
begin
    if jsonb_typeof(record) = 'object' and source = 'woocommerce' and stream in ('orders', 'customers') then
        select p.customer_id, private.email_hash(organization, p.email) into customer, email
        from private.people_on_page(source, stream, record) p;
    elsif jsonb_typeof(record) = 'object' and source = 'shopify' then
        customer := private.gid_number(record #>> '{customer,id}');
    end if;
    if not private.records_speak_of_erased(organization, source_id, source, stream, jsonb_build_array(record)) then
        return record;
    end if;
    token := private.erased_token(organization, source_id, customer);
    if source = 'woocommerce' and stream = 'refunds' and private.refunds_of_erased(organization, source_id, jsonb_build_array(record)) then
        return private.only_fields(record, array['id', 'parent_id', 'amount', 'date_created', 'date_created_gmt', 'refunded_payment'])
            || private.only_lines(record, array['line_items', 'shipping_lines', 'fee_lines']);
    end if;
    if token is null and private.erased_token(organization, 'email', encode(email, 'hex')) is null then
        return private.hide_erased(organization, record::text)::jsonb;
    end if;
    if source = 'shopify' then
        kept := private.only_fields(record, array[
                'id', 'legacyResourceId', 'createdAt', 'processedAt', 'updatedAt', 'cancelledAt', 'test', 'currencyCode',
                'presentmentCurrencyCode', 'displayFinancialStatus', 'sourceName'], array['currentTotalPriceSet', 'totalPriceSet',
                'totalRefundedSet', 'totalDiscountsSet', 'totalTaxSet', 'totalShippingPriceSet', 'refunds', 'agreements'])
            || jsonb_build_object('customer', jsonb_build_object('id', 'gid://shopify/Customer/' || token));
    elsif stream = 'customers' then
        kept := private.only_fields(record, array['id', 'date_created', 'date_created_gmt', 'date_modified', 'date_modified_gmt', 'is_paying_customer'])
            || case when token is null then '{}' else jsonb_build_object('id', token) end
            || case when email is null then '{}' else jsonb_build_object('email', private.erased_address(organization, email)) end;
    else
        kept := private.only_fields(record, array[
                'id', 'parent_id', 'status', 'currency', 'version', 'prices_include_tax', 'customer_id', 'date_created', 'date_created_gmt',
                'date_modified', 'date_modified_gmt', 'date_paid', 'date_paid_gmt', 'date_completed', 'date_completed_gmt', 'total',
                'total_tax', 'shipping_total', 'shipping_tax', 'cart_tax', 'discount_total', 'discount_tax'])
            || case when token is null then '{}' else jsonb_build_object('customer_id', token) end
            || case when email is null then '{}'
                    else jsonb_build_object('billing', jsonb_build_object('email', private.erased_address(organization, email))) end
            || private.only_lines(record, array['line_items']);
    end if;
    return kept;
end $$;

create or replace function private.redacted_records(
    organization uuid, source_id text, source text, stream text, records jsonb) returns jsonb
language sql stable set search_path = '' as $$
    select case when not private.records_speak_of_erased(organization, source_id, source, stream, records) then records else (
    select coalesce(jsonb_agg(private.redacted_record(organization, source_id, source, stream, r.record) order by r.place), '[]')
    from jsonb_array_elements(records) with ordinality as r (record, place)) end
$$;

-- A page of a source, as it may be kept; any page of an organisation of which nobody was erased as it is.
-- (Volatile, so that it sees who was erased until now and not until the statement began, which may have waited since.)
create or replace function private.without_erased(
    organization uuid, data_source_id uuid, source text, stream text, page jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
    id text := data_source_id::text;
    nodes jsonb := page #> '{data,orders,nodes}';
    edges jsonb := page #> '{data,orders,edges}';
begin
    if source not in ('woocommerce', 'shopify') or not private.has_erased(array[organization]) then
        return page;
    elsif jsonb_typeof(page) = 'array' then
        return private.redacted_records(organization, id, source, stream, page);
    elsif source = 'woocommerce' then
        return private.redacted_record(organization, id, source, stream, page);
    elsif jsonb_typeof(nodes) = 'array' then
        return jsonb_set(page, '{data,orders,nodes}', private.redacted_records(organization, id, source, stream, nodes));
    elsif jsonb_typeof(edges) = 'array' then
        return jsonb_set(page, '{data,orders,edges}', (
            select coalesce(jsonb_agg(case when e.edge ? 'node' then jsonb_set(e.edge, '{node}',
                       private.redacted_record(organization, id, source, stream, e.edge -> 'node')) else e.edge end order by e.place), '[]')
            from jsonb_array_elements(edges) with ordinality as e (edge, place)));
    end if;
    return private.hide_erased(organization, page::text)::jsonb;
end $$;

-- The same for a page that is taken in while somebody is just being erased: it may not have had its turn.
create or replace function private.without_erased_now(
    organization uuid, data_source_id uuid, source text, stream text, page jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
begin
    if exists (select from public.erased_ids e where e.organization_id = organization and e.plain is not null) then
        return private.without_erased(organization, data_source_id, source, stream, page);
    end if;
    return page;
end $$;

-- Whether bytes that were set aside speak of somebody who was erased: an address or its hash anywhere; an id where clients and
-- stores have it. (Volatile as above.)
create or replace function private.speaks_of_erased(
    organization uuid, data_source_id uuid, stream text, content bytea) returns boolean
language plpgsql volatile set search_path = '' as $$
declare
    said text;
begin
    if content is null or not private.has_erased(array[organization]) then
        return false;
    end if;
    said := private.text_of(content);
    return private.hide_erased(organization, said) <> said or exists (
        select from regexp_matches(said, '"([A-Za-z_]+)"\s*:\s*"?([^",{}\s\[\]]+)', 'g') m
        where case when m[1] in ('userId', 'user_id', 'anonymousId', 'anonymous_id', 'previousId', 'previous_id')
                       then private.erased_token(organization, 'site', m[2])
                   when m[1] = 'customer_id' or m[1] = 'id' and stream = 'customers' or m[2] like 'gid://shopify/Customer/%'
                       then private.erased_token(organization, data_source_id::text, regexp_replace(m[2], '^gid://shopify/Customer/', ''))
              end is not null);
end $$;

-- Bytes as text, whatever they are.
create or replace function private.text_of(content bytea) returns text
language plpgsql immutable set search_path = '' as $$
begin
    return convert_from(content, 'UTF8');
exception when character_not_in_repertoire or untranslatable_character then
    return encode(content, 'escape');
end $$;
