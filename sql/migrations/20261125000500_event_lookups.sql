-- Indexes that what is written per event can afford.
-- Every event moves its session's last_activity: in an index it made each of these updates write to all indexes and move the
-- row. Live eyes look for active sessions, and of these there are few.
-- squawk-ignore-file require-concurrent-index-deletion, require-concurrent-index-creation
drop index public.live_sessions_activity_idx;
create index live_sessions_active_idx on public.live_sessions (organization_id) where is_active;

-- The few events that are money: a rate that comes later is looked up among them, not among all events of nine days.
create index event_tracking_purchases_idx on public.event_tracking (organization_id, "timestamp")
    where event_name in ('Order Completed', 'Order Refunded');

-- A lookup by key must never read an organisation's whole table: as long as a table has no statistics, a second index that begins
-- with organization_id looks as cheap as the primary key to whoever knows the rest of the key.
drop index public.event_identities_user_idx;
create index event_identities_user_idx on public.event_identities (user_id, organization_id);
drop index public.visitors_first_seen_idx;
create index visitors_first_seen_idx on public.visitors (first_seen_at, organization_id);
drop index public.visitor_sessions_started_idx;
create index visitor_sessions_started_idx on public.visitor_sessions using brin (started_at);

-- When each of these was said, so that an event that comes late is put where it belongs; as columns, since they are compared with
-- every event.
alter table public.live_sessions
    add column page_at timestamptz,
    add column referrer_at timestamptz,
    add column agent_at timestamptz,
    add column place_at timestamptz,
    add column address_at timestamptz;
