"""The factory of assets that the ledger knows: partitioned by organisation and time, one SQL statement for a run.

The checks of such an asset are part of its own step, also when only they are asked for. As steps of their own they made
Dagster list every key of the asset's partitions for each check, 744,000 at a thousand organisations and a month: eight
tenths of a run's time. In the step they also speak when some organisations failed and nothing downstream runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg

from analytics_assets.partitions import single_run
from analytics_assets.resources import Database, Rows
from analytics_assets.runs import COMPUTED_CHECK, Scope, materialize_partitions, parse_key
from analytics_assets.sql import query, version_of

# One group: the lineage opens with all assets in sight, where several would open as closed boxes.
GROUP = "analytics"
_WORST = 20
_STANDALONE_WINDOW = timedelta(days=31)

# The ticks of hours and of days come every hour; two that are missed are a warning.
_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=3))

Describe = Callable[[Database, list[UUID], datetime, datetime], dict[str, Any]]

Prepare = Callable[[dg.AssetExecutionContext, Scope, Database, list[UUID], datetime, datetime], dict[str, Any]]


@dataclass(frozen=True)
class SqlCheck:
    """A check that passes when sql/queries/check_<asset>_<name>.sql finds nothing. (Assets may share a query: ``shared``.)

    The query takes keys (partition keys, text[], null for all), start and end (instants, UTC) and most; it returns
    organization, at, problem and found (how many there are in all), the worst first. One round trip for all
    organisations of a run.

    Attributes:
        what: what is found, for the sentence "3 <what>; first: ...".
        blocking: nothing downstream runs where publishing wrong numbers is worse than publishing none.
        severity: WARN where what is found may be true.
        shared: the query is sql/queries/check_<shared>_<name>.sql, with these further parameters.
    """

    name: str
    description: str
    what: str
    blocking: bool = False
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    shared: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def check_range(context: dg.AssetExecutionContext, time_dimension: str) -> tuple[list[str] | None, datetime, datetime]:
    """(partition keys of the organization dimension, None for all; start; end) that a check looks at.

    A check that is run by itself, without partitions, looks at all organisations and the last 31 days.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        end = datetime.now(UTC)
        return None, end - _STANDALONE_WINDOW, end
    step = timedelta(hours=1) if time_dimension == "hour" else timedelta(days=1)
    parsed = [parse_key(key, time_dimension) for key in context.partition_keys]
    return sorted({key for _, key in parsed}), min(at for at, _ in parsed), max(at for at, _ in parsed) + step


def evaluate(
    check: SqlCheck, asset: str, database: Rows, keys: list[str] | None, start: datetime, end: datetime
) -> dg.AssetCheckResult:
    """Runs the check's query; the result names how many violations there are and the worst twenty, in a table."""
    parameters = {"keys": keys, "start": start, "end": end, "most": _WORST, **check.parameters}
    rows = database.rows(query(f"check_{check.shared or asset}_{check.name}"), parameters)
    found: int = rows[0]["found"] if rows else 0
    metadata: dict[str, Any] = {
        "violations": found,
        "from": start.strftime("%Y-%m-%d %H:%M UTC"),
        "to": end.strftime("%Y-%m-%d %H:%M UTC"),
    }
    if rows:
        metadata["worst"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"organization": str(row["organization"]), "at": str(row["at"]), "problem": row["problem"]})
                for row in rows
            ]
        )
    first = f"{rows[0]['organization']} {rows[0]['at']}: {rows[0]['problem']}" if rows else ""
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=dg.AssetKey(asset),
        passed=found == 0,
        severity=check.severity,
        description=f"{found} {check.what}; first: {first}" if rows else f"no {check.what}",
        metadata=metadata,
    )


def ledgered_asset(
    *,
    name: str,
    description: str,
    deps: Sequence[str | dg.AssetDep],
    partitions_def: dg.MultiPartitionsDefinition,
    time_dimension: str,
    table: str,
    columns: dg.TableSchema,
    lineage: dg.TableColumnLineage,
    kinds: set[str],
    layer: str,
    sql_files: Sequence[str],
    statement: str,
    describe: Describe,
    checks: Sequence[SqlCheck],
    prepare: Prepare | None = None,
    code_files: Sequence[Path] = (),
) -> dg.AssetsDefinition:
    """An asset of which one run computes a rectangle of partitions with one statement.

    Args:
        layer: tag, for selections such as tag:layer=aggregates.
        statement: name of the query that computes; it takes ids, start, end (instants, UTC) and run_id, and returns a
            row of figures an organisation that had work.
        sql_files: the files (relative to sql/) whose text is the asset's code_version.
        code_files: files of Python that compute too; their text is part of the code_version.
        prepare: what is done before the statement, outside of its transaction; it gives further parameters for it.
        describe: preview and plot for the metadata, from (database, organisation ids, first and last bucket).
    """
    checks = [
        *checks,
        SqlCheck(
            "no_failed_partitions",
            f"No {time_dimension} of any organisation of the run's keys is left failed, whenever it is; says which command computes it.",
            f"{time_dimension}s left failed",
            shared="ledger",
            parameters={"asset": name},
        ),
    ]
    computed = dg.AssetCheckSpec(
        COMPUTED_CHECK,
        asset=name,
        description="Every organisation of the run is computed; names those that are not, why, and what to do.",
    )

    @dg.multi_asset(
        name=name,
        specs=[
            dg.AssetSpec(
                name,
                deps=deps,
                description=description,
                skippable=True,
                group_name=GROUP,
                code_version=version_of(*sql_files, code=code_files),
                owners=["team:analytics"],
                tags={"layer": layer},
                kinds=kinds,
                freshness_policy=_FRESHNESS,
                metadata={
                    "dagster/table_name": table,
                    "dagster/column_schema": columns,
                    "dagster/column_lineage": lineage,
                },
            )
        ],
        check_specs=[
            computed,
            *(
                dg.AssetCheckSpec(check.name, asset=name, description=check.description, blocking=check.blocking)
                for check in checks
            ),
        ],
        partitions_def=partitions_def,
        backfill_policy=single_run,
        can_subset=True,
    )
    def compute_and_check(context: dg.AssetExecutionContext, config: Scope, database: Database) -> Iterator[Any]:
        selected = {key.name for key in context.selected_asset_check_keys}

        def compute(
            connection: psycopg.Connection[dict[str, Any]], ids: list[UUID], start: datetime, end: datetime
        ) -> list[dict[str, Any]]:
            parameters = {"ids": ids, "start": start, "end": end, "run_id": context.run.run_id}
            if prepare is not None:
                connection.commit()
                parameters |= prepare(context, config, database, ids, start, end)
            return connection.execute(query(statement), parameters).fetchall()

        failure: dg.Failure | None = None
        if context.selected_asset_keys:
            results = materialize_partitions(
                context,
                database,
                config,
                asset=name,
                partitions_def=partitions_def,
                time_dimension=time_dimension,
                compute=compute,
                describe=lambda ids, first, last: describe(database, ids, first, last) | {"dagster/column_lineage": lineage},
            )
            try:
                for result in results:
                    if not isinstance(result, dg.AssetCheckResult) or result.check_name in selected:
                        yield result
            except dg.Failure as error:
                failure = error
        elif COMPUTED_CHECK in selected:
            raise dg.Failure(f"{COMPUTED_CHECK} speaks of a run that computes: materialize {name} instead", allow_retries=False)
        keys, start, end = check_range(context, time_dimension)
        with database.held() as held:
            for check in checks:
                if check.name in selected:
                    yield evaluate(check, name, held, keys, start, end)
        if failure is not None:
            raise failure

    return compute_and_check
