select private.ensure_event_sources(%(organization_ids)s)
