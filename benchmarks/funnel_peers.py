"""The same funnel in DuckDB and in ClickHouse's engine (chdb), over the rows of a CSV file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

_COLUMNS = {
    "organization_id": "varchar", "visitor_id": "varchar", "user_id": "varchar", "session_id": "varchar",
    "event_name": "varchar", "moment": "bigint", "time_zone": "varchar",
}  # fmt: skip
# Numbers of 64 bits stand for organisation and actor: its joins by texts take twice as long.
_STEP_EVENTS = """
with s as (
    select organization_id, make_timestamptz(moment) as moment, time_zone,
           hash(organization_id, visitor_id, case when user_id is null then session_id else '' end) as actor,
           case event_name when 'Product Viewed' then 1 when 'Product Added' then 2 when 'Checkout Started' then 3 else 4 end as step
    from events where event_name in ('Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed')
)
"""
_COUNT = """
select organization_id, day, count(*), count(*) filter (deepest >= 2), count(*) filter (deepest >= 3), count(*) filter (deepest >= 4)
from (select organization_id, actor, timezone(time_zone, moment)::date as day, max(deep) as deepest from runs group by all)
group by all
"""
_WINDOWS = f"""{_STEP_EVENTS}, a as (
    select *, min(moment) filter (step = 4) over w as a4 from s window w as (partition by actor order by moment desc)
), b as (
    select *, min(moment) filter (step = 3) over w as b3, min(a4) filter (step = 3) over w as b4
    from a window w as (partition by actor order by moment desc)
), c as (
    select *, min(moment) filter (step = 2) over w as c2, min(b3) filter (step = 2) over w as c3, min(b4) filter (step = 2) over w as c4
    from b window w as (partition by actor order by moment desc)
), runs as (
    select *, case when c4 <= moment + interval 24 hour then 4 when c3 <= moment + interval 24 hour then 3
                   when c2 <= moment + interval 24 hour then 2 else 1 end as deep
    from c where step = 1
)
{_COUNT}"""
_ASOF = f"""{_STEP_EVENTS}, w1 as (
    select * from s where step = 1
), w2 as (
    select w.*, n.moment as moment2 from w1 w asof join (select * from s where step = 2) n on n.actor = w.actor and n.moment >= w.moment
), w3 as (
    select w.*, n.moment as moment3 from (select * from w2 where moment2 <= moment + interval 24 hour) w
    asof join (select * from s where step = 3) n on n.actor = w.actor and n.moment >= w.moment2
), w4 as (
    select w.*, n.moment as moment4 from (select * from w3 where moment3 <= moment + interval 24 hour) w
    asof join (select * from s where step = 4) n on n.actor = w.actor and n.moment >= w.moment3
), runs as (
    select organization_id, actor, time_zone, moment, 1 as deep from w1
    union all select organization_id, actor, time_zone, moment, 2 from w2 where moment2 <= moment + interval 24 hour
    union all select organization_id, actor, time_zone, moment, 3 from w3 where moment3 <= moment + interval 24 hour
    union all select organization_id, actor, time_zone, moment, 4 from w4 where moment4 <= moment + interval 24 hour
)
{_COUNT}"""
_WINDOW_FUNNEL = """
select organization_id, deepest, count() from (
    select organization_id, cityHash64(visitor_id, if(user_id = '', session_id, '')) as actor,
           windowFunnel(86400000000)(toUInt64(moment), event_name = 'Product Viewed', event_name = 'Product Added',
                                     event_name = 'Checkout Started', event_name = 'Order Completed') as deepest
    from events group by organization_id, actor
) group by organization_id, deepest settings max_threads = 2 format Null
"""


class PeerError(RuntimeError):
    """A peer that is not there, or cannot read the rows; the message says what to do."""


def load_peers() -> tuple[Any, Any]:
    """The modules duckdb and chdb.session. Raises PeerError where one is not installed."""
    try:
        return importlib.import_module("duckdb"), importlib.import_module("chdb.session")
    except ImportError as error:
        raise PeerError(f"{error}: the peers come with the extra bench: pip install --editable '.[bench]'") from None


class Duck:
    """DuckDB in memory, two threads."""

    FORMULATIONS = {"ASOF joins": _ASOF, "window passes": _WINDOWS}  # noqa: RUF012 (nothing changes it)

    def __init__(self, file: Path) -> None:
        self._connection = load_peers()[0].connect()
        self._connection.execute("set threads = 2; set timezone = 'UTC'; set enable_progress_bar = false")
        self._connection.execute(
            "create table events as select * from read_csv(?, header = false, columns = ?)", [str(file), _COLUMNS]
        )
        self._rows: dict[str, list[Any]] = {}

    def run(self, name: str) -> None:
        """One of its formulations."""
        self._rows[name] = self._connection.execute(self.FORMULATIONS[name]).fetchall()

    def rows(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """(organisation, day) -> runs that reached each step; of all formulations the same, or PeerError."""
        found = [{(row[0], row[1].isoformat()): tuple(row[2:]) for row in rows} for rows in self._rows.values()]
        if any(one != found[0] for one in found):
            raise PeerError("DuckDB's formulations differ from each other")
        return found[0]

    def close(self) -> None:
        """Gives its memory back."""
        self._connection.close()


class ClickHouse:
    """ClickHouse's engine in this process, two threads."""

    def __init__(self, file: Path) -> None:
        self._session = load_peers()[1].Session()
        self._session.query(
            "create table events (organization_id LowCardinality(String), visitor_id String, user_id String, session_id String,"
            " event_name LowCardinality(String), moment UInt64, time_zone LowCardinality(String)) engine = MergeTree order by"
            " (organization_id, moment)"
        )
        self._session.query(f"insert into events select * from file('{file}', 'CSV')")

    def run(self) -> None:
        """How far each actor came, over all days."""
        self._session.query(_WINDOW_FUNNEL)

    def close(self) -> None:
        """Removes its table."""
        self._session.close()
