import time
from analytics_assets_tests.test_online_retail import *
from analytics_assets_tests.woocommerce import *
A=r"""select sum(l.items), sum(l.b) from raw_data_backup p cross join lateral jsonb_array_elements(p.raw_data) r(record) cross join lateral (
select coalesce(sum(case when e.line ->> 'quantity' ~ '^-?\d+(\.\d+)?$' then (e.line ->> 'quantity')::numeric end), 0) as items,
               count(*) filter (where (e.line ->> 'quantity') !~ '^-?\d+(\.\d+)?$' or e.line ->> 'quantity' is null) as b,
               min(e.line ->> 'quantity') filter (where (e.line ->> 'quantity') !~ '^-?\d+(\.\d+)?$') as c
from jsonb_array_elements(r.record->'line_items') e(line)) l where l.c is null"""
B=r"""select sum(l.items), sum(l.b) from raw_data_backup p cross join lateral jsonb_array_elements(p.raw_data) r(record) cross join lateral (
select coalesce(sum(case when q.is_number then (e.line ->> 'quantity')::numeric end), 0) as items,
               count(*) filter (where q.is_number is not true) as b,
               min(e.line ->> 'quantity') filter (where not q.is_number) as c
from jsonb_array_elements(r.record->'line_items') e(line) cross join lateral (
            select length(e.line ->> 'quantity') <= 30 and e.line ->> 'quantity' ~ '^-?[0-9]+(\.[0-9]+)?$' as is_number
        ) q) l where l.c is null"""
C=r"""select sum(l.items), sum(l.b) from raw_data_backup p cross join lateral jsonb_array_elements(p.raw_data) r(record) cross join lateral (
select coalesce(sum(case when n.is_number then n.q::numeric end), 0) as items,
               count(*) filter (where n.is_number is not true) as b,
               min(n.q) filter (where not n.is_number) as c
from (select q, length(q) <= 30 and q ~ '^-?[0-9]+(\.[0-9]+)?$' as is_number from (select e.line ->> 'quantity' as q
from jsonb_array_elements(r.record->'line_items') e(line) offset 0) x offset 0) n) l where l.c is null"""
def test_x(connection):
    org = add_organization(connection, "retail", "Europe/London", "GBP")
    import_both(connection)
    for i in range(3):
        for n,s in zip("ABC",(A,B,C)):
            t=time.time(); r=connection.execute(s).fetchone(); print(n, round(time.time()-t,2), list(r.values()))
