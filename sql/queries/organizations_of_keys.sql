-- Active organisations that share the given partition keys; all of them where slugs is null.
select o.id, o.slug, o.partition_key
from public.organizations o
where o.is_active and o.partition_key = any (%(keys)s) and (%(slugs)s::text[] is null or o.slug = any (%(slugs)s))
order by o.slug
