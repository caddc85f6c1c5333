-- Small global tables (reference tables on Citus): channels, the metric catalogue, exchange rates.

create table public.channels (
    channel_id smallint primary key,
    channel text not null unique check (channel ~ '^[a-z][a-z0-9_]{1,49}$')
);
insert into public.channels values
    (1, 'google_analytics'), (2, 'meta_ads'), (3, 'woocommerce'), (4, 'shopify'), (5, 'events');

create table public.metrics (
    metric_id smallint primary key,
    metric text not null unique check (metric ~ '^[a-z][a-z0-9_]{1,99}$'),
    unit text not null check (unit in ('count', 'money', 'ratio', 'seconds', 'users', 'customers')),
    kind text not null check (kind in ('sum', 'distinct', 'ratio', 'weighted_mean', 'last')),
    hourly boolean not null,
    numerator text,
    denominator text,
    numerator_minus boolean not null default false,
    scale numeric not null default 1,
    description text not null,
    constraint metrics_ratio_parts check (num_nonnulls(numerator, denominator) = case kind when 'ratio' then 2 else 0 end),
    constraint metrics_distinct_never_hourly check (kind <> 'distinct' or not hourly),
    constraint metrics_ratio_never_stored check (kind <> 'ratio' or not hourly)
);
comment on table public.metrics is
    'The metric catalogue. sum: hours add up to days. distinct: only from a daily row or a distinct count. '
    'ratio: never stored, sum of numerator / sum of denominator at any grain (numerator_minus: denominator minus '
    'numerator on top). weighted_mean: sum(x * w) / sum(w). last: the last value.';

insert into public.metrics
    (metric_id, metric, unit, kind, hourly, numerator, denominator, numerator_minus, scale, description) values
    (1, 'sessions', 'count', 'sum', true, null, null, false, 1, 'Sessions, counted in the hour in which they start'),
    (2, 'engaged_sessions', 'count', 'sum', true, null, null, false, 1, 'Sessions with engagement'),
    (3, 'users_active', 'users', 'distinct', false, null, null, false, 1, 'Distinct active users of the day'),
    (4, 'users_total', 'users', 'distinct', false, null, null, false, 1, 'Distinct users of the day'),
    (5, 'users_new', 'users', 'sum', true, null, null, false, 1, 'Users seen for the first time'),
    (6, 'page_views', 'count', 'sum', true, null, null, false, 1, 'Pages and screens viewed'),
    (7, 'events', 'count', 'sum', true, null, null, false, 1, 'Events'),
    (8, 'key_events', 'count', 'sum', true, null, null, false, 1, 'Key events (conversions)'),
    (9, 'engagement_seconds', 'seconds', 'sum', true, null, null, false, 1, 'Time of engagement'),
    (10, 'avg_session_duration', 'seconds', 'weighted_mean', false, null, null, false, 1,
        'Mean duration of a session, weighted by sessions'),
    (11, 'bounce_rate', 'ratio', 'ratio', false, 'engaged_sessions', 'sessions', true, 1, '1 - engaged / sessions'),
    (12, 'engagement_rate', 'ratio', 'ratio', false, 'engaged_sessions', 'sessions', false, 1, 'engaged / sessions'),
    (13, 'pages_per_session', 'ratio', 'ratio', false, 'page_views', 'sessions', false, 1, 'page views / sessions'),
    (14, 'item_views', 'count', 'sum', true, null, null, false, 1, 'Products viewed'),
    (15, 'add_to_carts', 'count', 'sum', true, null, null, false, 1, 'Products put into a cart'),
    (16, 'checkouts', 'count', 'sum', true, null, null, false, 1, 'Checkouts begun'),
    (17, 'purchases', 'count', 'sum', true, null, null, false, 1, 'Purchases as the analytics source counts them'),
    (18, 'purchase_revenue', 'money', 'sum', true, null, null, false, 1, 'Revenue of purchases, less refunds'),
    (19, 'total_revenue', 'money', 'sum', true, null, null, false, 1, 'Revenue of purchases, subscriptions and ads'),
    (20, 'cart_to_purchase_rate', 'ratio', 'ratio', false, 'purchases', 'add_to_carts', false, 1,
        'purchases / add to carts'),
    (21, 'conversion_rate', 'ratio', 'ratio', false, 'purchases', 'sessions', false, 1, 'purchases / sessions'),
    (22, 'revenue_per_session', 'money', 'ratio', false, 'total_revenue', 'sessions', false, 1, 'revenue / sessions'),
    (23, 'impressions', 'count', 'sum', true, null, null, false, 1, 'Ad impressions'),
    (24, 'clicks_all', 'count', 'sum', true, null, null, false, 1, 'Clicks on ads, of every kind'),
    (25, 'link_clicks', 'count', 'sum', true, null, null, false, 1, 'Clicks on links in ads'),
    (26, 'outbound_clicks', 'count', 'sum', true, null, null, false, 1, 'Clicks that leave the ad platform'),
    (27, 'ad_spend', 'money', 'sum', true, null, null, false, 1, 'Spend on ads'),
    (28, 'reach', 'users', 'distinct', false, null, null, false, 1, 'Distinct people reached in the day'),
    (29, 'frequency', 'ratio', 'ratio', false, 'impressions', 'reach', false, 1, 'impressions / reach, days only'),
    (30, 'landing_page_views', 'count', 'sum', false, null, null, false, 1, 'Landing pages loaded after a click'),
    (31, 'ad_add_to_carts', 'count', 'sum', false, null, null, false, 1, 'Add to carts attributed to ads'),
    (32, 'ad_checkouts', 'count', 'sum', false, null, null, false, 1, 'Checkouts attributed to ads'),
    (33, 'ad_purchases', 'count', 'sum', false, null, null, false, 1, 'Purchases attributed to ads'),
    (34, 'ad_purchase_value', 'money', 'sum', false, null, null, false, 1, 'Value of purchases attributed to ads'),
    (35, 'video_views', 'count', 'sum', true, null, null, false, 1, 'Video views'),
    (36, 'ctr', 'ratio', 'ratio', false, 'clicks_all', 'impressions', false, 1, 'clicks / impressions'),
    (37, 'cpc', 'money', 'ratio', false, 'ad_spend', 'clicks_all', false, 1, 'spend / clicks'),
    (38, 'cpm', 'money', 'ratio', false, 'ad_spend', 'impressions', false, 1000, '1000 * spend / impressions'),
    (39, 'cpa', 'money', 'ratio', false, 'ad_spend', 'ad_purchases', false, 1, 'spend / attributed purchases'),
    (40, 'roas', 'ratio', 'ratio', false, 'ad_purchase_value', 'ad_spend', false, 1, 'attributed value / spend'),
    (41, 'orders', 'count', 'sum', true, null, null, false, 1,
        'Orders placed, in the hour of payment (of creation while unpaid); not pending, failed, cancelled, draft, trash'),
    (42, 'items_sold', 'count', 'sum', true, null, null, false, 1, 'Units on the lines of the orders; returns not taken off'),
    (43, 'gross_sales', 'money', 'sum', true, null, null, false, 1,
        'Price x quantity and fees, before discounts, without tax and shipping'),
    (44, 'discounts', 'money', 'sum', true, null, null, false, 1, 'Discounts, without tax'),
    (45, 'shipping_revenue', 'money', 'sum', true, null, null, false, 1,
        'Shipping charged less shipping refunded, without tax'),
    (46, 'taxes', 'money', 'sum', true, null, null, false, 1, 'Tax charged less tax refunded'),
    (47, 'refunds_amount', 'money', 'sum', true, null, null, false, 1,
        'Money refunded, tax and shipping included, in the hour of the refund; positive'),
    (48, 'refunds_count', 'count', 'sum', true, null, null, false, 1, 'Refunds, in the hour of the refund'),
    (49, 'net_sales', 'money', 'sum', true, null, null, false, 1,
        'Gross sales - discounts - goods refunded; an hour may be negative'),
    (50, 'total_sales', 'money', 'sum', true, null, null, false, 1, 'Net sales + shipping revenue + taxes'),
    (51, 'customers_ordering', 'customers', 'distinct', false, null, null, false, 1, 'Distinct customers with an order in the day'),
    (52, 'customers_new', 'customers', 'sum', true, null, null, false, 1, 'Customers whose first order ever is in the hour'),
    (53, 'customers_returning', 'customers', 'distinct', false, null, null, false, 1,
        'Distinct customers of the day who ordered before that day'),
    (54, 'aov', 'money', 'ratio', false, 'total_sales', 'orders', false, 1, 'Average order value: total sales / orders'),
    (55, 'items_per_order', 'ratio', 'ratio', false, 'items_sold', 'orders', false, 1, 'items / orders'),
    (56, 'refund_rate', 'ratio', 'ratio', false, 'refunds_amount', 'gross_sales', false, 1, 'refunds / gross sales'),
    (57, 'cancelled_orders', 'count', 'sum', true, null, null, false, 1, 'Orders cancelled, in the hour of cancellation'),
    (58, 'abandoned_checkouts', 'count', 'sum', true, null, null, false, 1, 'Checkouts abandoned'),
    (59, 'mer', 'ratio', 'ratio', false, 'total_sales', 'ad_spend', false, 1,
        'Marketing efficiency: store sales / ad spend, over the channels of an organisation'),
    (60, 'ncac', 'money', 'ratio', false, 'ad_spend', 'customers_new', false, 1,
        'Cost of a new customer: ad spend / new customers, over the channels of an organisation'),
    (61, 'active_sessions_now', 'count', 'last', false, null, null, false, 1, 'Sessions active at the moment');
alter table public.metrics
    add constraint metrics_numerator_known foreign key (numerator) references public.metrics (metric),
    add constraint metrics_denominator_known foreign key (denominator) references public.metrics (metric);

create table public.exchange_rates (
    from_currency text not null check (from_currency ~ '^[A-Z]{3}$'),
    to_currency text not null check (to_currency ~ '^[A-Z]{3}$'),
    rate_date date not null,
    -- NaN and infinity are numeric too, and greater than 0.
    rate numeric not null check (rate > 0 and rate < 'infinity'),
    source text not null default 'manual',
    created_at timestamptz not null default now(),
    primary key (from_currency, to_currency, rate_date),
    check (from_currency <> to_currency)
);
comment on table public.exchange_rates is
    'One unit of from_currency is worth rate units of to_currency on rate_date. A rate holds for up to seven days.';
