select * from private.close_live_sessions()
