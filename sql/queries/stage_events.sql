select private.make_event_stage()
