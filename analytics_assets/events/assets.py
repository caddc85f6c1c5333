"""Assets ``event_tracking``, which sums collected events up by organisation and hour, and ``realtime_sessions``."""

from datetime import timedelta

import dagster as dg

from analytics_assets.events.previews import describe_events, describe_live_sessions
from analytics_assets.ledgered import GROUP, SqlCheck, ledgered_asset
from analytics_assets.partition_keys import HOUR
from analytics_assets.partitions import organization_hours
from analytics_assets.resources import Database
from analytics_assets.sql import query, version_of

_EVENT_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("timestamp", "timestamptz", "When it happened, the client's clock corrected"),
        dg.TableColumn("id", "uuid", "Of the client's messageId"),
        dg.TableColumn("event_type", "varchar(10)", "track, page, screen, identify, group, alias"),
        dg.TableColumn("event_name", "varchar(100)"),
        dg.TableColumn("visitor_id", "varchar(255)", "The known user, else the anonymous id"),
        dg.TableColumn("user_id", "varchar(255)", "The known user, also of events sent before the visitor was known"),
        dg.TableColumn("known_as", "varchar(255)", "The id that was sent, where an identity put the user in its place"),
        dg.TableColumn("session_id", "varchar(255)", "The client's own, else of visitor and start"),
        dg.TableColumn("event_value", "numeric", "In currency, exact"),
        dg.TableColumn("currency", "text"),
        dg.TableColumn("page_url", "text"),
        dg.TableColumn("metadata", "jsonb", "properties, context, traits"),
    ]
)
_SESSION_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("session_id", "varchar(255)"),
        dg.TableColumn("visitor_id", "varchar(255)", "The known user, else the anonymous id"),
        dg.TableColumn("started_at", "timestamptz", "First event"),
        dg.TableColumn("last_activity", "timestamptz", "Last event"),
        dg.TableColumn("duration_seconds", "integer", "From the first event to the last"),
        dg.TableColumn("is_active", "boolean", "An event in the last 30 minutes, at the moment of reading"),
        dg.TableColumn("page_url", "text", "Of the last event with one"),
        dg.TableColumn("device_type", "varchar(20)", "desktop, mobile, tablet, bot, other"),
        dg.TableColumn("country", "varchar(2)"),
    ]
)

CHECKS = {
    "event_tracking": [
        SqlCheck(
            "events_equal_aggregates",
            "Events, page views, sessions and purchases of every computed hour equal a recount from event_tracking and "
            "visitor_sessions, in what is summed up and in hourly_aggregates.",
            "hours that differ from their events",
            blocking=True,
        ),
        SqlCheck(
            "no_orphan_sessions",
            "Every event's session is in visitor_sessions with the bounds and counts that its events make, and every "
            "session there has events.",
            "sessions that differ from their events",
        ),
        SqlCheck(
            "sessions_hold_their_definition",
            "No two sessions of a visitor without an id of the client's own lie within 30 minutes of each other, none has a gap "
            "of more than 30 minutes inside, and their ids come of visitor and start.",
            "sessions cut in the wrong place",
        ),
        SqlCheck(
            "identity_coverage",
            "No event is left under an id of which the user is known.",
            "events without the user that is known of them",
        ),
        SqlCheck(
            "known_organizations_only",
            "No event, session or visitor of an organisation that does not exist.",
            "rows of nobody",
        ),
    ]
}

# Grain: organisation x local hour; metrics of channel events, and visitors' days.
event_tracking = ledgered_asset(
    name="event_tracking",
    description="Events of tracking clients, one row a message, with visitor and session, written as the collector receives "
    "them. Materializing an hour sums it up for hourly_aggregates (channel events: sessions, users_new, page_views, events, "
    "item_views, add_to_carts, checkouts, purchases, purchase_revenue) and keeps which visitors were there on which day. Late "
    "events and identities found later make their hours stale.",
    deps=["data_sources"],
    partitions_def=organization_hours,
    time_dimension=HOUR,
    table="public.event_tracking",
    columns=_EVENT_COLUMNS,
    lineage=dg.TableColumnLineage({"organization_id": [dg.TableColumnDep(dg.AssetKey("data_sources"), "organization_id")]}),
    kinds={"postgres", "sql"},
    layer="events",
    sql_files=[
        "functions/summarize_events.sql",
        "functions/write_visitor_days.sql",
        "functions/store_events.sql",
        "functions/take_in_identities.sql",
        "functions/assign_sessions.sql",
        "functions/write_visitors.sql",
        "functions/exchange_rate.sql",
    ],
    statement="summarize_events",
    describe=describe_events,
    checks=CHECKS["event_tracking"],
)


@dg.asset(
    description="Sessions of the last 24 hours with what live eyes need of them. The collector keeps them up to the second; "
    "materializing closes those without activity for 30 minutes and drops what is older than 24 hours. The metadata show who has "
    "visitors at this moment, and active sessions over the day.",
    deps=["event_tracking"],
    kinds={"postgres", "sql"},
    owners=["team:analytics"],
    tags={"layer": "events"},
    group_name=GROUP,
    # Every five minutes.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=30), warn_window=timedelta(minutes=15)),
    code_version=version_of("functions/write_live_sessions.sql", "functions/cleanup_events.sql", "views/realtime_sessions.sql"),
    metadata={
        "dagster/table_name": "public.realtime_sessions",
        "dagster/column_schema": _SESSION_COLUMNS,
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                **{
                    name: [dg.TableColumnDep(dg.AssetKey("event_tracking"), name)]
                    for name in ("organization_id", "session_id", "visitor_id", "page_url")
                },
                **{
                    name: [dg.TableColumnDep(dg.AssetKey("event_tracking"), "timestamp")]
                    for name in ("started_at", "last_activity", "duration_seconds", "is_active")
                },
            }
        ),
    },
)
def realtime_sessions(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Grain: one session. Closes and drops; waits for no writer, whose sessions are left for the next time."""
    (done,) = database.rows(query("close_live_sessions"))
    context.log.info("%s sessions closed, %s hours dropped", done["closed"], done["dropped"])
    return dg.MaterializeResult(
        metadata={
            "sessions_closed": done["closed"],
            "partitions_dropped": done["dropped"],
            **describe_live_sessions(database),
        }
    )
