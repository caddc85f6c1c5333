"""docs/personal-data.md against the catalogue: of every column it is decided whether it holds personal data."""

import re
from collections import Counter

from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.woocommerce import Connection


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    text = (PROJECT_ROOT / "docs" / "personal-data.md").read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _decided() -> tuple[list[str], list[str]]:
    """table.column of the personal columns and of the others."""
    personal = [f"{row[0]}.{row[1]}" for row in _rows("Personal")]
    others = [f"{table}.{name}" for table, names in _rows("Not personal") for name in re.split(r",\s*", names)]
    return personal, others


def test_every_column_is_decided_once(connection: Connection) -> None:
    """A table or column that is added fails here until somebody has said what it holds; so does one that is gone."""
    there = {
        row["name"]
        for row in connection.execute(
            "select c.relname || '.' || a.attname as name from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
            " where n.nspname in ('public', 'private') and c.relkind in ('r', 'p') and not c.relispartition"
        ).fetchall()
    }
    personal, others = _decided()
    decided = Counter([*personal, *others])
    assert len(there) > 300
    assert [name for name, times in decided.items() if times > 1] == []
    assert sorted(there - set(decided)) == []
    assert sorted(set(decided) - there) == []


def test_every_personal_column_is_explained() -> None:
    """What, why, how long, and what erasing a person does."""
    assert [row for row in _rows("Personal") if len(row) != 6 or not all(row)] == []


def test_ids_and_hashes_of_people_are_personal() -> None:
    """Columns whose names say it, whatever table they are added to."""
    words = (
        "email",
        "user_id",
        "visitor_id",
        "customer_id",
        "customer_key",
        "anonymous_id",
        "ip_address",
        "user_agent",
        "known_as",
        "member",
    )
    _, others = _decided()
    assert [name for name in others if name.split(".")[1] in words or "email" in name] == []
