-- Orders, refunds and customers of the stores as entities: newest version wins.

create table public.orders (
    organization_id uuid not null,
    data_source_id uuid not null,
    bucket_at timestamptz not null,
    occurred_at timestamptz not null,
    placed_at timestamptz not null,
    paid_at timestamptz,
    modified_at timestamptz not null,
    fetched_at timestamptz not null,
    channel_id smallint not null references public.channels,
    is_counted boolean not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    order_id text not null,
    status text not null,
    customer_key text,
    customer_id text,
    email_hash bytea,
    items_sold numeric not null,
    gross_sales numeric not null,
    discounts numeric not null,
    shipping numeric not null,
    taxes numeric not null,
    total numeric not null,
    content_md5 uuid not null,
    primary key (organization_id, data_source_id, order_id)
);
comment on table public.orders is
    'Grain: one order of a store, in its newest version. bucket_at: start of the store''s local hour in which it counts. '
    'Amounts in currency: gross_sales - discounts + shipping + taxes = total. E-mail addresses only as a hash.';
create index orders_bucket_idx on public.orders (organization_id, bucket_at);
create index orders_customer_idx on public.orders (organization_id, data_source_id, customer_key) where customer_key is not null;
create index orders_email_idx on public.orders (organization_id, data_source_id, email_hash) where email_hash is not null;

create table public.refunds (
    organization_id uuid not null,
    data_source_id uuid not null,
    bucket_at timestamptz not null,
    occurred_at timestamptz not null,
    fetched_at timestamptz not null,
    channel_id smallint not null references public.channels,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    refund_id text not null,
    order_id text,
    amount numeric not null check (amount >= 0),
    taxes numeric not null,
    shipping numeric not null,
    items_refunded numeric not null,
    content_md5 uuid not null,
    primary key (organization_id, data_source_id, refund_id)
);
comment on table public.refunds is
    'Grain: one refund. amount: all money given back, positive; of it taxes and shipping. A refund counts in the hour in '
    'which it was made, and not at all while its order does not count.';
create index refunds_bucket_idx on public.refunds (organization_id, bucket_at);
create index refunds_order_idx on public.refunds (organization_id, data_source_id, order_id) where order_id is not null;

create table public.customers (
    organization_id uuid not null,
    data_source_id uuid not null,
    customer_key text not null,
    customer_id text,
    email_hash bytea,
    registered_at timestamptz,
    modified_at timestamptz,
    first_order_at timestamptz,
    first_order_bucket timestamptz,
    channel_id smallint not null references public.channels,
    primary key (organization_id, data_source_id, customer_key)
);
comment on table public.customers is
    'Grain: one customer of a store. customer_key: id:<id> of a registered one, email:<hash> of a guest whose e-mail '
    'address no registered customer has.';
create index customers_first_order_idx on public.customers (organization_id, first_order_bucket)
    where first_order_bucket is not null;
create index customers_email_idx on public.customers (organization_id, data_source_id, email_hash)
    where email_hash is not null;
