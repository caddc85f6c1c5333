"""One run over many partitions: which organisations and instants it is asked for, and what of it Dagster is told.

A run covers a rectangle of partition keys, for one SQL statement per asset. When some organisations fail inside it, the
run must not say that they are done: Dagster records a materialization for every key of a range whose output is yielded,
also for those that failed inside. So nothing failed: the output is yielded and the run goes on downstream. Something
failed: the good keys are logged one by one, no output is yielded, and the stale-partitions sensor requests what lies
downstream of them. All failed: the step fails.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg

from analytics_assets.partition_keys import DAY_FORMAT, HOUR_FORMAT, ORGANIZATION
from analytics_assets.resources import Database
from analytics_assets.run_log import RunLog, broken_off
from analytics_assets.sql import query

COMPUTED_CHECK = "organizations_computed"
# Locks of a transaction grow with the day partitions that it touches.
_LONGEST_TRANSACTION = timedelta(days=100)
_WORST = 20
# Dagster looks a key up among all keys of the run each time metadata is added to one: a month of an organisation took
# four seconds for its row counts alone. Beyond so many partitions the ledger has them, and the last partition the sum.
_MOST_COUNTED = 60


class Scope(dg.Config):
    """Run config: restricts a run to some organisations of its partitions (which several may share)."""

    organizations: list[str] = []  # noqa: RUF012 (pydantic copies it)


@dataclass(frozen=True)
class Block:
    """Partition keys of the same buckets: organization keys x half-open range of instants (UTC)."""

    keys: tuple[str, ...]
    start: datetime
    end: datetime


Compute = Callable[[psycopg.Connection[dict[str, Any]], list[UUID], datetime, datetime], list[dict[str, Any]]]


def parse_key(key: str, time_dimension: str) -> tuple[datetime, str]:
    """(instant at which the bucket begins, UTC; organization key) of a partition key."""
    if isinstance(key, dg.MultiPartitionKey):
        bucket, organization = key.keys_by_dimension[time_dimension], key.keys_by_dimension[ORGANIZATION]
    else:
        bucket, organization = key.split("|", 1)
    text_format = HOUR_FORMAT if time_dimension == "hour" else DAY_FORMAT
    return datetime.strptime(bucket, text_format).replace(tzinfo=UTC), organization


def blocks(keys: Sequence[str], time_dimension: str) -> list[Block]:
    """Partition keys as few rectangles: one for a range, and one for each gap more."""
    step = timedelta(hours=1) if time_dimension == "hour" else timedelta(days=1)
    buckets_by_key: dict[str, set[datetime]] = defaultdict(set)
    for key in keys:
        bucket, organization = parse_key(key, time_dimension)
        buckets_by_key[organization].add(bucket)
    keys_by_range: dict[tuple[datetime, datetime], list[str]] = defaultdict(list)
    for organization, buckets in buckets_by_key.items():
        ordered = sorted(buckets)
        start = previous = ordered[0]
        for bucket in ordered[1:]:
            if bucket - previous > step or bucket - start >= _LONGEST_TRANSACTION:
                keys_by_range[start, previous + step].append(organization)
                start = bucket
            previous = bucket
        keys_by_range[start, previous + step].append(organization)
    return [Block(tuple(sorted(names)), start, end) for (start, end), names in sorted(keys_by_range.items())]


@dataclass
class _Progress:
    """What a run has done so far, over its blocks."""

    organizations: set[UUID]
    figures: dict[str, int]
    bucket_rows: dict[tuple[datetime, str], int]
    failures: dict[tuple[datetime, str], tuple[str, str, str]]
    seconds: float = 0.0


def _run_blocks(
    context: dg.AssetExecutionContext,
    database: Database,
    scope: Scope,
    asset: str,
    time_dimension: str,
    compute: Compute,
) -> _Progress:
    progress = _Progress(set(), defaultdict(int), {}, {})
    started = time.monotonic()
    pieces = blocks(list(context.partition_keys), time_dimension)
    slugs = scope.organizations or None
    log = RunLog(asset)
    for number, block in enumerate(pieces, 1):
        with database.connection() as connection:
            found = connection.execute(query("organizations_of_keys"), {"keys": list(block.keys), "slugs": slugs}).fetchall()
            ids = [row["id"] for row in found]
            if scope.organizations and len(block.keys) == len({row["partition_key"] for row in found}) == 0:
                raise dg.Failure(
                    f"none of {', '.join(scope.organizations)} is an active organisation of {', '.join(block.keys[:5])}",
                    allow_retries=False,
                )
            progress.organizations.update(ids)
            # One transaction a block: rows and ledger together, or neither.
            began = time.monotonic()
            try:
                outcomes = compute(connection, ids, block.start, block.end) if ids else []
            except psycopg.Error as error:
                context.log.error("%s", broken_off(asset, len(ids), block.start, block.end, error))
                raise
            seconds = time.monotonic() - began
        with database.connection() as connection:
            ledger = connection.execute(
                query("ledger_of_partitions"),
                {"asset": asset, "organization_ids": ids, "start": block.start, "end": block.end},
            ).fetchall()
        named = {row["id"]: row["slug"] for row in found}
        for row in outcomes:
            log.add(row, named, block.start, block.end, seconds)
            for name, value in row.items():
                if isinstance(value, int):
                    progress.figures[name] += value
        for row in ledger:
            at = row["bucket"], row["partition_key"]
            progress.bucket_rows[at] = row["row_count"]
            if row["open"]:
                progress.failures[at] = row["open_slug"], row["open_status"], row["open_error"] or "changed meanwhile"
        context.log.info(
            "%s of %s: %s organisations, %s to %s UTC: %s",
            number,
            len(pieces),
            len(ids),
            block.start.strftime("%Y-%m-%d %H:%M"),
            block.end.strftime("%Y-%m-%d %H:%M"),
            ", ".join(f"{name} {value}" for name, value in progress.figures.items()) or "nothing changed",
        )
    failing, sound = log.lines()
    for lines, say in ((failing, context.log.error), (sound, context.log.info)):
        if lines:
            say("%s", "\n".join(lines))
    progress.seconds = time.monotonic() - started
    return progress


def _failure_table(failures: Mapping[tuple[datetime, str], tuple[str, str, str]]) -> dg.TableMetadataValue:
    """The worst twenty organisations: how many buckets of each, the first of them, and why."""
    by_slug: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
    for (bucket, _), (slug, status, error) in sorted(failures.items()):
        by_slug[slug].append((bucket, status, error))
    worst = sorted(by_slug.items(), key=lambda item: -len(item[1]))[:_WORST]
    return (
        dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "organization": slug,
                        "partitions": len(found),
                        "first": found[0][0].strftime("%Y-%m-%d %H:%M"),
                        "status": found[0][1],
                        "error": found[0][2][:500],
                    }
                )
                for slug, found in worst
            ]
        )
        if worst
        else dg.MetadataValue.table([], schema=dg.TableSchema([dg.TableColumn("organization")]))
    )


def materialize_partitions(
    context: dg.AssetExecutionContext,
    database: Database,
    scope: Scope,
    *,
    asset: str,
    partitions_def: dg.PartitionsDefinition,
    time_dimension: str,
    compute: Compute,
    describe: Callable[[list[UUID], datetime, datetime], Mapping[str, Any]] = lambda *_: {},
) -> Iterator[Any]:
    """Computes all partitions of the run, and yields what the asset yields.

    Args:
        asset: its name, in the graph and in the ledger.
        time_dimension: ``hour`` or ``day``.
        compute: one SQL statement over (organization ids, start, end), in a transaction that is committed after it.
        describe: metadata to look at (preview, plot) over the whole run; with the figures named run_... it goes to the
            partition whose event is written last, since a plot in each of ten thousand events would outweigh the data.

    Raises dg.Failure (no retries) where no partition of the run is done and some are broken: broken input does not mend
    by itself.
    """
    asset_key = dg.AssetKey(asset)
    progress = _run_blocks(context, database, scope, asset, time_dimension, compute)
    keys = {parse_key(key, time_dimension): key for key in context.partition_keys}
    failures = {at: why for at, why in progress.failures.items() if at in keys}
    good = [at for at in keys if at not in failures]
    # A day whose hours are still to come waits: nothing is broken, and it is marked when they are there.
    broken = any(status == "failed" for _, status, _ in failures.values())

    summary: dict[str, Any] = {
        **{f"run_{name}": dg.MetadataValue.int(value) for name, value in progress.figures.items()},
        "run_organizations": dg.MetadataValue.int(len(progress.organizations)),
        "run_partitions": dg.MetadataValue.int(len(keys)),
        "run_row_count": dg.MetadataValue.int(sum(progress.bucket_rows.get(at, 0) for at in keys)),
        "run_seconds": dg.MetadataValue.float(round(progress.seconds, 3)),
    }
    check = dg.AssetCheckResult(
        check_name=COMPUTED_CHECK,
        asset_key=asset_key,
        passed=not failures,
        severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
        description=_describe_failures(failures, len(keys)),
        metadata={"failed_partitions": len(failures), "worst": _failure_table(failures)},
    )
    rich: Mapping[str, Any] = {}
    if good:
        first, last = min(at[0] for at in good), max(at[0] for at in good)
        rich = describe(sorted(progress.organizations), first, last)

    if not failures:
        # Dagster writes the events of a range in the order of a set; the asset's page opens with the one written last.
        written = list(partitions_def.subset_with_partition_keys(context.partition_keys).get_partition_keys())
        shown = parse_key(written[-1], time_dimension) if written else None
        counted = keys if len(keys) <= _MOST_COUNTED else {at: key for at, key in keys.items() if at == shown}
        for at, key in counted.items():
            context.add_asset_metadata(
                {"dagster/partition_row_count": progress.bucket_rows.get(at, 0)}, asset_key, partition_key=key
            )
        if shown is not None:
            context.add_asset_metadata({**summary, **rich}, asset_key, partition_key=keys[shown])
        yield dg.MaterializeResult(asset_key)
        yield check
        return

    for at in sorted(good):
        context.log_event(
            dg.AssetMaterialization(
                asset_key,
                partition=keys[at],
                metadata={"dagster/partition_row_count": progress.bucket_rows.get(at, 0)}
                | ({**summary, **rich} if at == max(good) else {}),
            )
        )
    yield check
    (context.log.error if broken else context.log.warning)("%s", _describe_failures(failures, len(keys)))
    if broken and not good:
        raise dg.Failure(
            _describe_failures(failures, len(keys)), metadata={"worst": _failure_table(failures)}, allow_retries=False
        )


def _describe_failures(failures: Mapping[tuple[datetime, str], tuple[str, str, str]], partitions: int) -> str:
    if not failures:
        return f"all {partitions} partitions are computed"
    slugs = sorted({slug for slug, _, _ in failures.values()})
    (bucket, _), (slug, status, error) = min(failures.items())
    names = ", ".join(slugs[:5]) + (f" and {len(slugs) - 5} more" if len(slugs) > 5 else "")
    return (
        f"{len(failures)} of {partitions} partitions are not computed, of {names}. "
        f"First: {slug} {bucket:%Y-%m-%d %H:%M} {status}: {error}"
    )
