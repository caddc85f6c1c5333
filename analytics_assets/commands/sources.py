"""analytics sources: accounts at the vendors, connected, tested, listed, given new credentials."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from analytics_assets.commands.console import err, fail, moment, out, print_table, span
from analytics_assets.commands.secret_input import secrets_of, settings_of
from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.organizations.registry import get as get_organization
from analytics_assets.sources import registry
from analytics_assets.sources.connector import JSON, Account, Source
from analytics_assets.sources.connectors import CONNECTORS, check
from analytics_assets.sources.failures import SourceFailure, WrongConfiguration
from analytics_assets.sources.probe import explain, probe
from analytics_assets.sources.secrets import KEYS_VARIABLE, OpenSecrets, SecretBox, SecretError
from analytics_assets.sources.vendors import Vendors

app = typer.Typer(no_args_is_help=True, help="Live sources: accounts at the vendors, kept in step by themselves.")

OrganizationOption = Annotated[str, typer.Option(help="Slug of the organisation")]
TypeOption = Annotated[str | None, typer.Option("--type", help=f"One of {', '.join(CONNECTORS)}")]
NameOption = Annotated[str | None, typer.Option(help="Which one, where the organisation has several of the type")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting in clear, such as store_url")]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        help="JSON with the secrets by name, or a service account's key file", exists=True, dir_okay=False, readable=True
    ),
]
SecretEnv = Annotated[
    list[str] | None,
    typer.Option(metavar="SECRET=VARIABLE", help="A secret from an environment variable, by the variable's name"),
]


@contextmanager
def _told() -> Iterator[None]:
    """What the registry refuses becomes an error of the command."""
    try:
        yield
    except (registry.SourceError, OrganizationError, SecretError, WrongConfiguration) as error:
        fail(str(error))


class _Held:
    """Secrets of a source that is not stored yet: what the vendor rotates during the test is kept for storing."""

    def __init__(self, secrets: Mapping[str, Any]) -> None:
        self.secrets: Mapping[str, Any] = secrets

    async def save(self, change: Callable[[Mapping[str, Any]], Awaitable[JSON | None]]) -> Mapping[str, Any]:
        changed = await change(self.secrets)
        self.secrets = self.secrets if changed is None else OpenSecrets(changed)
        return self.secrets


def _try_out(row: Mapping[str, Any], settings: JSON, held: _Held, vendors: Vendors, otherwise: str) -> Account:
    """The account, by a real call with secrets that are not stored yet."""
    source = Source(
        row["organization_id"],
        row["id"],
        row["source_type"],
        settings,
        row["time_zone"],
        row["currency"],
        held.secrets,
        held.save,
    )
    try:
        return asyncio.run(probe(source, vendors))
    except SourceFailure as failure:
        fail(f"{explain(failure, source)} {otherwise}")


def _say_account(account: Account) -> None:
    out.print(
        f"  account {account.name or '(without a name)'}: {account.time_zone}, {account.currency}", markup=False, soft_wrap=True
    )
    for note in account.notes:
        out.print(f"  note: {note}", markup=False, soft_wrap=True)


@app.command()
def add(
    organization: OrganizationOption,
    source_type: Annotated[str, typer.Option("--type", help=f"One of {', '.join(CONNECTORS)}")],
    name: Annotated[str | None, typer.Option(help="The account's id or address by default")] = None,
    settings: SetOption = None,
    secret_file: SecretFile = None,
    secret_env: SecretEnv = None,
    frequency: Annotated[int, typer.Option(min=1, max=44640, help="Minutes between two syncs")] = 15,
    history_from: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First day to read")
    ] = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Ask the vendor first")] = True,
) -> None:
    """Connect an account. Its secrets are tested by a real call, sealed, and never shown again."""
    with _told():
        given = settings_of(source_type, settings)
        vendors, box = Vendors.load(), SecretBox.load()
        checked, secrets = check(source_type, given, secrets_of(source_type, secret_file, secret_env), vendors)
        label = name or registry.default_name(source_type, checked)
        held = _Held(OpenSecrets(secrets))
        account = None
        with connect() as connection:
            found = get_organization(connection, organization)
            registry.free_place(connection, organization, source_type, label, checked)
            connection.commit()
            if test:
                row = {
                    "organization_id": found.id, "id": uuid4(), "source_type": source_type,
                    "time_zone": found.time_zone, "currency": found.currency,
                }  # fmt: skip
                account = _try_out(row, checked, held, vendors, "Nothing was stored (--no-test stores without asking).")
            registry.add(
                connection, organization, source_type, label, checked, held.secrets, account=account,
                frequency_minutes=frequency, history_from=_day(history_from), box=box, vendors=vendors,
            )  # fmt: skip
    out.print(f"{source_type} {label} added to {organization}; synced every {frequency} minutes", markup=False, soft_wrap=True)
    if account is None:
        out.print("  not tested; zone and currency are the organisation's until its first sync")
    else:
        _say_account(account)


def _day(at: datetime | None) -> date | None:
    return at.date() if at else None


@app.command("list")
def list_(organization: Annotated[str | None, typer.Option(help="Only this organisation's")] = None) -> None:
    """List sources with how each fares. Times are UTC."""
    with connect() as connection, _told():
        rows = registry.listed(connection, organization)
    if not rows:
        out.print("no sources yet: `analytics sources add --organization SLUG --type woocommerce --set store_url=https://...`")
        return
    columns = [
        "organization", "type", "name", "status", "last sync", "late by", "next try", "every", "failure", "time zone", "currency"
    ]  # fmt: skip
    print_table(
        f"{len(rows)} sources",
        columns,
        [
            (
                row["organization"],
                row["source_type"],
                row["source_name"],
                row["status"],
                moment(row["last_sync_at"]),
                span(row["late_by"]),
                moment(row["next_sync_at"]),
                span(timedelta(minutes=row["sync_frequency_minutes"])),
                row["failure_kind"],
                row["time_zone"],
                row["currency"],
            )
            for row in rows
        ],
        right=["late by", "every"],
    )
    for row in rows:
        if row["failure_kind"]:
            times = f", {row['failures']} times" if row["failures"] > 1 else ""
            what = f"{row['organization']} {row['source_type']} {row['source_name']}: {row['failure_kind']}{times}: {row['last_error']}"
            out.print(what, markup=False, soft_wrap=True)


@app.command("test")
def ask(organization: OrganizationOption, source_type: TypeOption = None, name: NameOption = None) -> None:
    """Ask the vendor: what account is it, and does it let us read. An answer ends a failure that waited for an operator."""
    failed = 0
    with connect() as connection, _told():
        vendors, box = Vendors.load(), SecretBox.load()
        rows = [row for row in registry.find(connection, organization, source_type, name) if row["is_connected"]]
        if not rows:
            rows = [registry.get(connection, organization, source_type, name)]
        connection.commit()
        for row in rows:
            label = f"{row['source_type']} {row['source_name']}"
            try:
                source = registry.open_source(row, box, registry.saver(connection, row, box))
                account = asyncio.run(probe(source, vendors))
            except SourceFailure as failure:
                failed += 1
                err.print(f"{label}: {explain(failure, source)}", markup=False, soft_wrap=True)
                continue
            except SecretError as error:
                failed += 1
                err.print(f"{label}: {error}", markup=False, soft_wrap=True)
                continue
            goes_on = registry.answers(connection, row, account)
            out.print(
                f"{label}: answers{'; it had been stopped and goes on now' if goes_on else ''}", markup=False, soft_wrap=True
            )
            _say_account(account)
            if row["last_sync_at"] and (row["time_zone"], row["currency"]) != (account.time_zone, account.currency):
                out.print(f"  its data was read as {row['time_zone']}, {row['currency']}; the next sync reads it anew")
    if failed:
        raise typer.Exit(1)


@app.command()
def pause(organization: OrganizationOption, source_type: TypeOption = None, name: NameOption = None) -> None:
    """Sync a source no more until it is resumed; its data stays."""
    with connect() as connection, _told():
        row = registry.get(connection, organization, source_type, name)
        registry.pause(connection, row)
    out.print(f"{row['source_type']} {row['source_name']} is paused", markup=False, soft_wrap=True)


@app.command()
def resume(organization: OrganizationOption, source_type: TypeOption = None, name: NameOption = None) -> None:
    """Sync a source again, that was paused or waits after a failure. It is due at once."""
    with connect() as connection, _told():
        row = registry.get(connection, organization, source_type, name)
        registry.resume(connection, row)
    out.print(f"{row['source_type']} {row['source_name']} is synced again", markup=False, soft_wrap=True)


@app.command()
def remove(organization: OrganizationOption, source_type: TypeOption = None, name: NameOption = None) -> None:
    """Delete the credentials of a source and sync it no more; its data stays, and `add` connects it again."""
    with connect() as connection, _told():
        row = registry.get(connection, organization, source_type, name)
        registry.remove(connection, row)
    out.print(
        f"{row['source_type']} {row['source_name']} removed: no credentials any more, its data stays",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def authorize(
    organization: OrganizationOption,
    source_type: TypeOption = None,
    name: NameOption = None,
    settings: SetOption = None,
    secret_file: SecretFile = None,
    secret_env: SecretEnv = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Ask the vendor first")] = True,
) -> None:
    """Give a source new secrets in place of its old ones, or a store its new address. It is due at once."""
    with connect() as connection, _told():
        vendors, box = Vendors.load(), SecretBox.load()
        row = registry.get(connection, organization, source_type, name)
        connection.commit()
        kind = row["source_type"]
        wanted = {**registry.clear_settings(row), **settings_of(kind, settings)}
        checked, secrets = check(kind, wanted, secrets_of(kind, secret_file, secret_env), vendors)
        registry.check_move(row, checked)
        held = _Held(OpenSecrets(secrets))
        account = _try_out(row, checked, held, vendors, "Its old secrets are kept.") if test else None
        registry.authorize(connection, row, held.secrets, settings=checked, box=box, vendors=vendors)
        if account:
            registry.answers(connection, row, account)
    out.print(f"{kind} {row['source_name']} has new secrets and is due now", markup=False, soft_wrap=True)
    if account:
        _say_account(account)


@app.command(
    "rotate-keys",
    help=f"Seal all secrets with the first key of {KEYS_VARIABLE}. Give every process the keys new,old before, and take the old "
    "one away after.",
)
def rotate_keys() -> None:
    """Broken off, it is run again."""
    with connect() as connection:
        rotation = registry.rotate_keys(connection, SecretBox.load())
    out.print(f"{rotation.rotated} sealed anew, {rotation.current} already current")
    for message in rotation.unreadable:
        err.print(message, markup=False, soft_wrap=True)
    if rotation.left:
        err.print(f"{rotation.left} were being written by a sync: run it again")
    if rotation.left or rotation.unreadable:
        raise typer.Exit(1)
