-- Every event moves its session's last_activity: in an index it made each of these updates write to all indexes and move the
-- row. Live eyes look for active sessions, and of these there are few.
-- squawk-ignore-file require-concurrent-index-deletion, require-concurrent-index-creation
drop index public.live_sessions_activity_idx;
create index live_sessions_active_idx on public.live_sessions (organization_id) where is_active;
