"""The command line ``analytics``."""

import sys
import warnings

import psycopg
import sqlalchemy.exc
import typer
from rich.markup import escape

from analytics_assets.commands import (
    collector,
    data,
    demo,
    erase,
    funnels,
    insights,
    live,
    members,
    organization_life,
    organizations,
    raw_pages,
    rebuild,
    retention,
    run,
    sandbox,
    sources,
    status,
    storage,
    sync,
    ui,
)
from analytics_assets.commands.console import err
from analytics_assets.database import DatabaseError
from analytics_assets.instance import InstanceError
from analytics_assets.migrations import MigrationError
from analytics_assets.settings import SettingError, make_paths_absolute

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multi-tenant analytics: raw vendor data to trusted hourly and daily aggregates in PostgreSQL.",
)
app.command("migrate")(run.migrate_command)
organizations.app.command("delete")(organization_life.delete_command)
organizations.app.command("export")(organization_life.export_command)
organizations.app.command("import")(organization_life.import_command)
organizations.app.add_typer(members.app, name="members")
app.add_typer(organizations.app, name="organizations")
app.command("import")(data.import_command)
app.add_typer(data.quarantine_app, name="quarantine")
app.add_typer(data.rates_app, name="rates")
app.command("backfill")(run.backfill_command)
app.command("maintain")(run.maintain_command)
app.command("rebuild")(rebuild.rebuild_command)
app.add_typer(raw_pages.app, name="raw")
app.add_typer(retention.app, name="retention")
app.command("storage")(storage.storage_command)
app.command("ui")(ui.ui_command)
app.command("status")(status.status_command)
app.command("stop")(run.stop_command)
sources.app.command("sync")(sync.sync_command)
sources.app.command("backfill")(sync.backfill_command)
app.add_typer(sources.app, name="sources")
app.command("erase")(erase.erase_command)
app.command("collector")(collector.collector_command)
app.add_typer(collector.keys_app, name="keys")
app.add_typer(funnels.app, name="funnels")
app.command("insights")(insights.insights_command)
app.command("sandbox")(sandbox.sandbox_command)
app.command("live")(live.live_command)
app.command("demo")(demo.demo_command)


def main() -> None:
    """Entry point: known failures become one line on standard error and exit status 1, Ctrl-C 130."""
    warnings.filterwarnings("ignore", module="dagster.*")
    make_paths_absolute()
    try:
        app()
    except (DatabaseError, MigrationError, InstanceError, SettingError) as error:
        err.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        what = escape(str(error.diag.message_primary))
        err.print(f"[red]error:[/red] {what}: run `analytics migrate` first", soft_wrap=True)
        sys.exit(1)
    except psycopg.OperationalError as error:
        err.print(
            f"[red]error:[/red] the database went away: {escape(str(error).strip())}. Run the command again.", soft_wrap=True
        )
        sys.exit(1)
    except sqlalchemy.exc.OperationalError as error:
        # Without its statement, which Dagster's storage fills with events.
        said = escape(" ".join(str(error.orig).split()))
        err.print(f"[red]error:[/red] Dagster's storage went away: {said}. Run the command again.", soft_wrap=True)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == 130:
            err.print("interrupted: run the command again, it goes on from what is done")
        raise


if __name__ == "__main__":
    main()
