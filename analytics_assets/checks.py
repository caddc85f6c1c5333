"""Checks as SQL that lists violations: one round trip for all organisations of a run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from analytics_assets.database import Database
from analytics_assets.runs import parse_key
from analytics_assets.sql import query

_WORST = 20
_STANDALONE_WINDOW = timedelta(days=31)


def run_range(context: dg.AssetCheckExecutionContext, time_dimension: str) -> tuple[list[str] | None, datetime, datetime]:
    """(partition keys of the organization dimension or None for all, start, end) that the run covers.

    A check that is run by itself, without partitions, looks at all organisations and the last 31 days.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        end = datetime.now(UTC)
        return None, end - _STANDALONE_WINDOW, end
    step = timedelta(hours=1) if time_dimension == "hour" else timedelta(days=1)
    parsed = [parse_key(key, time_dimension) for key in context.op_execution_context.partition_keys]
    return sorted({key for _, key in parsed}), min(at for at, _ in parsed), max(at for at, _ in parsed) + step


def violations_check(
    *, asset: str, name: str, description: str, time_dimension: str, what: str, blocking: bool = False
) -> dg.AssetChecksDefinition:
    """A check that passes when sql/queries/check_<asset>_<name>.sql finds no row.

    The query takes keys (text[] or null), start and end, and returns organization, at, problem and found (violations
    in all); the result names how many and the worst twenty, in a table.
    """
    statement = query(f"check_{asset}_{name}")

    @dg.asset_check(asset=asset, name=name, description=description, blocking=blocking)
    def check(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
        keys, start, end = run_range(context, time_dimension)
        rows = database.rows(statement, {"keys": keys, "start": start, "end": end, "most": _WORST})
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
        return dg.AssetCheckResult(
            passed=found == 0,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"no {what}"
            if found == 0
            else f"{found} {what}; first: {rows[0]['organization']} {rows[0]['at']}: {rows[0]['problem']}",
            metadata=metadata,
        )

    return check
