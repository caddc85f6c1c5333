"""What row-level security costs: the benchmark runs to its end, and the plans that its figures rest on."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from benchmarks import row_level_security
from benchmarks import row_level_statements as statements

Connection = psycopg.Connection[dict[str, Any]]
SMALL = ("--organizations", "20", "--metrics", "2", "--days", "2", "--rounds", "2")


def test_the_benchmark_runs_to_its_end(
    server_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", server_url)
    assert row_level_security.main([*SMALL, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["counts"] == {"hourly_facts": 20 * 2 * 2 * 48, "daily_facts": 20 * 2 * 2 * 2, "ai_insights": 20 * 200}
    # Rows that a member of one organisation and one of twenty see, without a filter and with one.
    found: dict[str, list[int]] = {}
    for line in figures["lines"]:
        found.setdefault(line["query"], []).append(line["rows"])
        assert line["by_hand"]["waited"] > 0 and line["secured"]["waited"] > 0 and line["plan"] > 0 and line["ratio"] > 0
    hours, today, days, insights = found.values()
    assert (hours, today, days, insights) == ([96, 96, 1920, 96], [2, 2, 40, 2], [4, 4, 80, 4], [20, 20, 50, 20])
    said = capsys.readouterr().out
    assert all(query in said for query in statements.QUERIES)


def test_the_benchmark_says_when_a_policy_lets_through_more(
    server_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", server_url)
    monkeypatch.setattr(statements, "BECOME", "select %(claims)s")
    assert row_level_security.main([*SMALL]) == 1
    assert "row-level security find others" in capsys.readouterr().err


def _plan(connection: Connection, columns: str) -> str:
    with connection.transaction(force_rollback=True):
        connection.execute(statements.BECOME, {"claims": json.dumps({"sub": str(uuid4())})})
        connection.execute("set local enable_seqscan = off")
        rows = connection.execute(psycopg.sql.SQL(f"explain select {columns} from public.hourly_aggregates")).fetchall()
        return "\n".join(row["QUERY PLAN"] for row in rows)


def test_the_members_organisations_are_a_condition_of_the_index(connection: Connection) -> None:
    """Once a statement, not once a row; and what a statement does not ask for is not joined, nor are its policies asked."""
    connection.execute("select private.ensure_partitions('hourly_facts', now(), now() + interval '1 hour')")
    lean = _plan(connection, '"timestamp", value')
    assert lean.count("Index Cond: (organization_id = ANY") >= 1 and "Filter" not in lean.replace("One-Time Filter", "")
    assert not [name for name in ("organizations", "metrics", "channels") if f"on {name}" in lean]
    assert "on metrics" in _plan(connection, "metric, value")
    assert "on organizations" in _plan(connection, "metadata")
