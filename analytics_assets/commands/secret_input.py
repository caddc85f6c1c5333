"""Settings and secrets as an operator gives them: settings on the command line, secrets never there."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

from analytics_assets.commands.console import err, fail
from analytics_assets.sources.connectors import check_secret_name, choices_of, connector_of, secret_names
from analytics_assets.sources.secrets import OpenSecrets

_LARGEST_FILE = 256 * 1024


def _pairs(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            # (Not the text: somebody may have put a secret there.)
            fail(f"{option}: expected {form}, each in an option of its own", 2)
        if name.strip() in pairs:
            fail(f"{option} {name.strip()} is given twice", 2)
        pairs[name.strip()] = value.strip()
    return pairs


def settings_of(source_type: str, texts: list[str] | None) -> dict[str, Any]:
    """Settings of ``--set``. Ends the command where one of them is a secret."""
    settings: dict[str, Any] = dict(_pairs(texts, "--set", "KEY=VALUE"))
    for name in settings.keys() & set(secret_names(source_type)):
        fail(f"{name} is a secret, and other users of this machine see command lines: use --secret-file or --secret-env", 2)
    return settings


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        document = json.loads(content) if len(content) <= _LARGEST_FILE else None
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        fail(f"{file}: expected a JSON object with secrets by name, of at most {_LARGEST_FILE // 1024} KiB", 2)
    # A key file as it was downloaded.
    return {"service_account": json.dumps(document)} if document.get("type") == "service_account" else document


def _ask(source_type: str) -> dict[str, Any]:
    """Asks for one set of secrets on the terminal, without showing what is typed."""
    choices = [choice for choice in connector_of(source_type).secret_choices if "service_account" not in choice]
    wanted = choices[0]
    if len(choices) > 1:
        for number, choice in enumerate(choices, 1):
            err.print(f"{number}: {' and '.join(choice)}")
        number = typer.prompt("Which", type=int, default=1, err=True)
        if not 1 <= number <= len(choices):
            fail(f"{number}: expected a number from 1 to {len(choices)}", 2)
        wanted = choices[number - 1]
    return {name: typer.prompt(name, hide_input=True, err=True) for name in wanted}


def secrets_of(source_type: str, file: Path | None, variables: list[str] | None) -> OpenSecrets:
    """Secrets from a file, from environment variables, or from the terminal; never from the command line.

    Raises WrongConfiguration.
    """
    secrets = OpenSecrets(_read_file(file) if file else {})
    for name, variable in _pairs(variables, "--secret-env", "SECRET=VARIABLE").items():
        check_secret_name(source_type, name)
        value = os.environ.get(variable, "")
        if not value.strip():
            # (Not its name: it may be the secret itself, given by mistake.)
            fail(f"--secret-env {name}: there is no such environment variable; give the variable's name, not the secret", 2)
        secrets[name] = value
    if not secrets:
        if not sys.stdin.isatty():
            fail(f"a source of type {source_type} needs {choices_of(source_type)}: give --secret-file or --secret-env", 2)
        secrets.update(_ask(source_type))
    return secrets
