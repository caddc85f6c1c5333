-- A hash of the id, not its rank: an organisation that comes later moves nobody.
update public.organizations o
set partition_key = k.partition_key, updated_at = now()
from (
    select id, case when %(cells)s = 0 then private.own_key(slug, id) else
        'cell-' || lpad((1 + (('x' || left(md5(id::text), 8))::bit(32)::bigint %% greatest(%(cells)s, 1)))::text,
                        greatest(length(%(cells)s::text), 2), '0') end as partition_key
    from public.organizations
) k
where o.id = k.id and o.is_active and o.partition_key <> k.partition_key
