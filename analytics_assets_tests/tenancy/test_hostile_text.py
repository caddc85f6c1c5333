"""SQL, markup and templates in every text that a tenant can set are only ever text: stored as sent, matched as sent, and run by nothing.

What a tenant may write through the API comes of the catalogue's grants, so that a column opened later fails here until it is tried;
what its website sends comes through the real collector; then the jobs run with their checks, and the commands.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from analytics_assets.cli import app
from analytics_assets.organizations import deletion
from analytics_assets_tests.events.conftest import caller
from analytics_assets_tests.events.serving import Caller
from analytics_assets_tests.graph.runs import check_results, run_days, run_hours
from analytics_assets_tests.sources.stores import add_store
from analytics_assets_tests.tenancy.callers import Connection, rows
from analytics_assets_tests.woocommerce import add_organization, order, take_in

__all__ = ["caller"]

HOSTILE = [
    "'); drop table public.orders; --",
    '"; drop table "public"."orders"; --',
    "$$; delete from public.orders; $$",
    "%s %(ids)s %% %n",
    "{} {0} {organization_id} {{",
    "\\'; select pg_sleep(100); --",
    "[bold red]x[/] [link=file:///etc/passwd]y",
    "<script>alert(1)</script> | `x` ![](x)",
    "'||(select connection_config::text from data_sources)||'",
]
OWNER = uuid.UUID(int=0xC1)
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)


def as_owner(connection: Connection, statement: str, values: dict[str, Any]) -> None:
    """One request of the owner through the API."""
    with connection.transaction():
        connection.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps({"sub": str(OWNER)}),))
        connection.execute("select set_config('role', 'authenticated', true)")
        assert connection.execute(statement, values).rowcount == 1


def steps(text: str) -> str:
    """Steps with the text wherever a step has any."""
    return json.dumps(
        [{"name": text, "event": text, "properties": {text: text}}, {"name": text, "event": text, "page": f"*{text}*"}]
    )


# How each column is tried; unit takes no text but its two words.
_ADD = (
    "insert into public.funnels (organization_id, funnel_name, unit, window_seconds, steps) values (%(org)s, %(text)s, 'session', 60,"
    " %(steps)s)"
)
TRIED = {
    "insert funnels.funnel_name": _ADD,
    "insert funnels.steps": _ADD,
    "insert funnels.unit": "",
    "update funnels.funnel_name": "update public.funnels set funnel_name = %(text)s where funnel_name = %(text)s",
    "update funnels.steps": "update public.funnels set steps = %(steps)s where funnel_name = %(text)s",
    "update funnels.unit": "",
    "update data_sources.source_name": "update public.data_sources set source_name = %(text)s where id = %(source)s",
}


def test_every_text_that_the_api_lets_a_tenant_write_is_tried(connection: Connection) -> None:
    """By the catalogue: all columns of text that authenticated may insert or update."""
    found = rows(
        connection,
        """
        select v.verb || ' ' || c.relname || '.' || a.attname as name
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        join pg_type t on t.oid = a.atttypid
        cross join (values ('insert'), ('update')) v (verb)
        where c.relkind in ('r', 'p', 'v') and c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
          and (t.typcategory in ('S', 'A', 'E') or t.typname in ('json', 'jsonb', 'xml', 'bytea'))
          and has_column_privilege('authenticated', c.oid, a.attnum, v.verb)""",
    )
    assert {row["name"] for row in found} == set(TRIED)


@pytest.fixture
def tenant(connection: Connection, caller: Caller, tmp_path: Path) -> uuid.UUID:
    """The collector's organisation, with an owner and a source for each text; another with an order as a witness."""
    (acme,) = rows(connection, "select id from public.organizations where slug = 'acme'")
    rows(connection, "insert into public.organization_members values (%s, %s, 'owner')", acme["id"], OWNER)
    connection.commit()
    for number in range(len(HOSTILE)):
        add_store(connection, number)
    add_organization(connection, "bolt")
    (tmp_path / "bolt").mkdir()
    take_in(connection, tmp_path / "bolt", "bolt", "orders", [order(1, DAY + timedelta(hours=9), "10.00", customer=5)])
    return uuid.UUID(str(acme["id"]))


@pytest.fixture
def untouched(connection: Connection) -> Iterator[None]:
    """What is defined in the database is at the end what it was."""
    defined = """
        select md5(string_agg(x, ' ' order by x)) as definitions from (
            select concat_ws(' ', c.relname, c.relkind, c.relacl, c.relrowsecurity) from pg_class c where c.relnamespace = 'public'::regnamespace
            union all select concat_ws(' ', p.oid::regprocedure, md5(p.prosrc)) from pg_proc p
            union all select concat_ws(' ', p.polname, p.polrelid::regclass, pg_get_expr(p.polqual, p.polrelid)) from pg_policy p) d (x)"""
    before = rows(connection, defined)
    yield
    assert rows(connection, defined) == before


@pytest.mark.usefixtures("untouched")
def test_it_is_only_text(
    connection: Connection, tenant: uuid.UUID, caller: Caller, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Nine texts in every field at once, all the way to files and back."""
    sources = [
        row["id"] for row in rows(connection, "select id from public.data_sources where organization_id = %s order by id", tenant)
    ]
    rows(connection, "update public.organizations set name = %s where id = %s", " ".join(HOSTILE), tenant)
    connection.commit()
    for text, source in zip(HOSTILE, sources, strict=False):
        for statement in dict.fromkeys(filter(None, TRIED.values())):
            as_owner(connection, statement, {"org": tenant, "text": text, "steps": steps(text), "source": source})
        event = {
            "type": "track", "event": text, "anonymousId": text, "userId": f"{text} user", "messageId": text, "timestamp": (DAY + timedelta(hours=9)).isoformat(),
            "properties": {text: text, "url": f"https://shop.example/{text}", "category": text, "label": text, "title": text},
            "context": {"page": {"path": f"/{text}", "referrer": text, "title": text, "search": text}, "userAgent": text, "locale": text,
                        "campaign": {"name": text, "source": text, "medium": text}, "groupId": text, "timezone": text},
        }  # fmt: skip
        answer = caller.send(event, {**event, "type": text, "messageId": f"{text} 2"})
        assert answer.status_code == 200 and answer.json()["rejected"] == 1, answer.text
    stored = rows(connection, "select event_name, anonymous_id from event_tracking where organization_id = %s", tenant)
    assert sorted(row["event_name"] for row in stored) == sorted(row["anonymous_id"] for row in stored) == sorted(HOSTILE)
    assert len(rows(connection, "select 1 as n from quarantine where organization_id = %s", tenant)) == len(HOSTILE)
    connection.commit()

    results = [
        run_hours(instance, DAY, DAY + timedelta(hours=23), ("orders", "event_tracking", "hourly_aggregates")),
        run_days(instance, DAY, DAY, assets=("daily_aggregates", "cohort_analysis", "funnel_analysis")),
    ]
    for result in results:
        assert result.success and check_results(result)
    # What the interface shows of the run as Markdown: no picture, link, code or HTML of the tenant's.
    made = [one.metadata for one in results[1].asset_materializations_for_node("funnel_analysis")]
    (shown,) = {str(metadata["preview"].value) for metadata in made if "preview" in metadata}
    assert "alert(1)" in shown and "delete from public.orders" in shown
    assert re.findall(r"(?<!\\)[<>`\[\]]|(?<!\\)\|(?! |:|-|\n|$)", shown) == []
    counted = rows(
        connection,
        "select funnel_name, visitors, step_name from funnel_analysis where organization_id = %s and step_order = 1", tenant,
    )  # fmt: skip
    assert sorted((row["funnel_name"], row["step_name"], row["visitors"]) for row in counted) == sorted(
        (t, t, 1) for t in HOSTILE
    )

    def command(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.output

    for text in HOSTILE:
        assert text in command("funnels", "show", "--organization", "acme", "--name", text)
    for what in (("funnels", "list"), ("sources", "list"), ("organizations", "list"), ("collector", "--help")):
        command(*what)
    command("organizations", "export", "acme", "--output", str(tmp_path / "out"))
    deletion.delete(connection, tenant)
    connection.commit()
    command("organizations", "import", str(tmp_path / "out"))
    (back,) = rows(connection, "select name from public.organizations where id = %s", tenant)
    assert back["name"] == " ".join(HOSTILE)
    names = rows(connection, "select source_name from public.data_sources where organization_id = %s", tenant)
    assert {row["source_name"] for row in names} >= set(HOSTILE)
    assert (
        len(
            rows(
                connection,
                "select 1 as n from public.orders o join public.organizations b on b.id = o.organization_id and b.slug = 'bolt'",
            )
        )
        == 1
    )
    shutil.rmtree(tmp_path / "out")
