-- Whether the organisation is there; it cannot be deleted until the transaction ends.
select cardinality(private.hold_organizations(array[%(organization_id)s::uuid])) > 0 as is_there
