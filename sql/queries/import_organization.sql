select private.import_organization(%(settings)s)
