"""Asset ``organizations``: the registry as the root of the graph."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from analytics_assets.ledgered import GROUP, evaluate
from analytics_assets.organizations import registry
from analytics_assets.organizations.checks import CHECKS, partition_limit_result
from analytics_assets.partition_keys import ORGANIZATION
from analytics_assets.resources import Database

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("id", "uuid", "The tenant's id in every table"),
        dg.TableColumn("slug", "text", "Its short name, unique"),
        dg.TableColumn("name", "text"),
        dg.TableColumn("time_zone", "text", "IANA name; days are days of this zone"),
        dg.TableColumn("currency", "text", "ISO 4217; money is reported in it"),
        dg.TableColumn("partition_key", "text", "Key of Dagster's organization dimension"),
        dg.TableColumn("is_active", "boolean"),
    ]
)


@dg.asset(
    description="The tenants: one row an organisation, with its time zone, reporting currency and partition key. "
    "Materializing it brings Dagster's organization partitions in step with the table.",
    kinds={"postgres"},
    owners=["team:analytics"],
    tags={"layer": "registry"},
    group_name=GROUP,
    code_version="1",
    metadata={"dagster/table_name": "public.organizations", "dagster/column_schema": _COLUMNS},
    # Read once an hour.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=3)),
    check_specs=[
        dg.AssetCheckSpec(
            "partition_limit",
            asset="organizations",
            description="Partition keys x hours of the window stay below the 100,000 partitions that Dagster recommends "
            "for an asset; otherwise `analytics organizations spread` lets organisations share keys.",
        ),
        *(dg.AssetCheckSpec(check.name, asset="organizations", description=check.description) for check in CHECKS),
    ],
)
def organizations(context: dg.AssetExecutionContext, database: Database) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Grain: one row an organisation. Row count and the first twenty of them in the metadata."""
    with database.connection() as connection:
        found = registry.listed(connection)
        wanted = registry.partition_keys(connection)
    present = set(context.instance.get_dynamic_partitions(ORGANIZATION))
    if new := [key for key in wanted if key not in present]:
        context.instance.add_dynamic_partitions(ORGANIZATION, new)
    for key in present - set(wanted):
        context.instance.delete_dynamic_partition(ORGANIZATION, key)
    now = datetime.now(UTC)
    columns = ("slug", "name", "time_zone", "currency", "partition_key", "sources", "hours_done", "failed")
    with database.held() as held:
        checks = [evaluate(check, "organizations", held, None, now, now) for check in CHECKS]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found),
            "partition_keys": len(wanted),
            "partition_keys_added": len(new),
            "partition_keys_removed": len(present - set(wanted)),
            "preview": dg.MetadataValue.table(
                [dg.TableRecord({name: row[name] for name in columns}) for row in found[:20]],
                schema=dg.TableSchema([dg.TableColumn(name) for name in columns]),
            ),
        },
        check_results=[partition_limit_result(len(wanted)), *checks],
    )
