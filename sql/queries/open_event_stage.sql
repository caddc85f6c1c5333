select private.open_event_stage()
