"""What `make lint` says of the dependencies: ``python -m analytics_assets_tests.audit``.

1. The lock names one version of everything, with hashes, and what is installed are these versions. Else it fails.
2. pip-audit looks the locked versions up among known vulnerabilities, and one that is found fails it. Where its source does not
   answer, or knows none of the packages (a mirror without vulnerability data: pip-audit then finds "no known vulnerabilities"
   in nothing that it has looked at), a line says that this was not checked, and the lint goes on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from analytics_assets.settings import PROJECT_ROOT

LOCK = PROJECT_ROOT / "requirements.lock"
_SECONDS = 60.0
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|$)")


@dataclass(frozen=True)
class Locked:
    """A requirement of the lock that holds on this machine: its name and the one version."""

    name: str
    version: str


def read_lock(text: str) -> tuple[list[Locked], list[str]]:
    """What the lock asks for on this machine, and what is wrong with it: a requirement without a single version or a hash."""
    locked, problems = [], []
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE))
    for line in filter(None, map(str.strip, joined.splitlines())):
        written = re.split(r"\s--hash=", line, maxsplit=1)[0].strip()
        try:
            requirement = Requirement(written)
        except InvalidRequirement:
            problems.append(f"{written}: no requirement such as name==1.2.3")
            continue
        versions = [one.version for one in requirement.specifier if one.operator == "==" and "*" not in one.version]
        if len(versions) != 1 or len(requirement.specifier) != 1:
            problems.append(f"{requirement.name}: expected one version, name==1.2.3, not {written}")
        elif not _HASH.search(line):
            problems.append(f"{requirement.name}: no --hash=sha256:...")
        elif requirement.marker is None or requirement.marker.evaluate():
            locked.append(Locked(canonicalize_name(requirement.name), versions[0]))
    return locked, problems if locked or problems else ["the lock is empty"]


def installed_versions() -> dict[str, str]:
    """Name: version, of this interpreter."""
    return {canonicalize_name(one.name): one.version for one in metadata.distributions()}


def compare(locked: Sequence[Locked], installed: dict[str, str]) -> list[str]:
    """Where what is installed is not what is locked. (More may be installed: `make bench` adds its peers.)"""
    return [
        f"{one.name}: {one.version} is locked, {installed.get(one.name, 'nothing')} is installed"
        for one in locked
        if installed.get(one.name) != one.version
    ]


@dataclass(frozen=True)
class Found:
    """What pip-audit found: vulnerabilities, how many packages it looked up, and why not all."""

    vulnerabilities: list[str]
    looked_up: int
    missing: str


def look_up(lock: Path, options: Sequence[str] = (), seconds: float = _SECONDS) -> Found:
    """Asks pip-audit. Its messages are not passed on: they name the index, which may have a password in its address."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip",
        "--format", "json", "--progress-spinner", "off", "--timeout", "10", *options,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return Found([], 0, f"its source did not answer within {seconds:.0f} s")
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return Found([], 0, f"its source cannot be reached (status {done.returncode})")
    looked_up = [one for one in packages if "skip_reason" not in one]
    vulnerabilities = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for one in looked_up
        for found in one["vulns"]
    ]
    unknown = len(packages) - len(looked_up)
    return Found(vulnerabilities, len(looked_up), f"its source knows nothing of {unknown} of {len(packages)}" if unknown else "")


def main(lock: Path = LOCK, options: Sequence[str] = (), seconds: float = _SECONDS) -> int:
    """Prints what was found; 1 where the dependencies are not as they should be."""
    locked, problems = read_lock(lock.read_text(encoding="utf-8"))
    problems += compare(locked, installed_versions())
    for problem in problems:
        print(f"{lock.name}: {problem}")
    if problems:
        print("`make setup` installs what is locked, `make lock` locks anew")
        return 1
    found = look_up(lock, options, seconds)
    for vulnerability in found.vulnerabilities:
        print(f"vulnerable: {vulnerability}")
    print(f"{len(locked)} packages are as locked, by version and hash; pip-audit looked up {found.looked_up}", end="")
    print(f": {found.missing}, so these were not checked for known vulnerabilities" if found.missing else "")
    return 1 if found.vulnerabilities else 0


if __name__ == "__main__":
    sys.exit(main())
