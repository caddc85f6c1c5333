-- deleting_since: of one that is being deleted, which stays as it is.
with named as (
    select o.id, o.deleting_since from public.organizations o where o.slug = %(slug)s for no key update
), changed as (
    update public.organizations o set is_active = %(active)s, updated_at = now()
    from named n
    where o.id = n.id and n.deleting_since is null and o.is_active <> %(active)s
)
select n.deleting_since from named n
