-- Indexes that what is written per event can afford.
-- Every event moves its session's last_activity: in an index it made each of these updates write to all indexes and move the
-- row. Live eyes look for active sessions, and of these there are few.
-- squawk-ignore-file require-concurrent-index-deletion, require-concurrent-index-creation
drop index public.live_sessions_activity_idx;
create index live_sessions_active_idx on public.live_sessions (organization_id) where is_active;

-- The few events that are money: a rate that comes later is looked up among them, not among all events of nine days.
create index event_tracking_purchases_idx on public.event_tracking (organization_id, "timestamp")
    where event_name in ('Order Completed', 'Order Refunded');
