"""One person erased: nothing of her is left in any table, everybody else is as before, and so is everything that was counted."""

import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets_tests.personal_data import people
from analytics_assets_tests.woocommerce import Connection


def run(*arguments: str) -> Any:
    """The command, as an operator calls it."""
    return CliRunner().invoke(app, ["erase", *arguments])


def rows_of_others(rows: list[tuple[str, str]], words: list[str]) -> set[tuple[str, str]]:
    """Rows that name nobody of these, byte for byte, without those that tell of the erasure or are on her pages."""
    return {(t, r) for t, r in rows if not people.mentions([(t, r)], words) and "erasure" not in t and "erased" not in t}


def test_nothing_of_her_is_left_and_everything_else_is_as_before(connection: Connection, tmp_path: Path) -> None:
    """By one address: her ids, devices, customers of two stores and other address are found. Aggregates are the same rows after it,
    after everything was marked and computed again, and after it was made anew from pages and events."""
    acme, bolt = (people.fill(connection, tmp_path, slug) for slug in ("acme", "bolt"))
    words, elsewhere = people.needles(acme), people.every_row(connection, bolt)
    before = people.every_row(connection, acme)
    counted = people.aggregates(connection, acme)
    assert all(counted.values())
    found = people.mentions(before, words)
    assert {word for _, word, _ in found} == set(words)
    connection.commit()

    shown = run("--organization", "acme", "--email", people.EMAIL, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert people.every_row(connection, acme) == before
    result = run("--organization", "acme", "--email", people.EMAIL)
    assert result.exit_code == 0, result.output
    assert [line for line in shown.output.splitlines() if re.search(r"\d$", line)] == [
        line for line in result.output.splitlines() if re.search(r"\d$", line)
    ]

    after = people.every_row(connection, acme)
    left = people.mentions(after, words)
    assert left == [], "\n".join(map(str, left))
    assert rows_of_others(before, words) - rows_of_others(after, words) == set()
    assert people.every_row(connection, bolt) == elsewhere
    assert people.aggregates(connection, acme) == counted
    connection.commit()

    people.mark_everything(connection, acme)
    people.compute(connection, acme)
    assert people.aggregates(connection, acme) == counted
    unnamed = ("id", "created_at", "updated_at")
    same = people.aggregates(connection, acme, *unnamed)
    people.forget_derived(connection, acme)
    people.compute(connection, acme)
    assert people.aggregates(connection, acme, *unnamed) == same

    again = run("--organization", "acme", "--email", people.EMAIL)
    assert again.exit_code == 0 and "was erased before" in again.output
