"""The audit of the dependencies: the lock of this project, locks that are none, and pip-audit before sources of all kinds."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from analytics_assets_tests.audit import LOCK, Locked, compare, installed_versions, main, read_lock

HASH = f"--hash=sha256:{'0' * 64}"
# Installed wherever this runs.
VERSION = installed_versions()["pytest"]


class _Source(BaseHTTPRequestHandler):
    """A vulnerability database, as pip-audit asks one."""

    answers: ClassVar[dict[str, Any]] = {}
    pause: ClassVar[float] = 0.0
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["package"]["name"])
        time.sleep(self.pause)
        answer = json.dumps(self.answers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture
def source() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Source)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _Source.answers, _Source.pause = {}, 0.0
    _Source.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Of one package, as it is installed."""
    file = tmp_path / "requirements.lock"
    file.write_text(f"pytest=={VERSION} \\\n    {HASH} \\\n    {HASH}\n    # via somebody\n")
    return file


def options(source: str) -> list[str]:
    return ["--vulnerability-service", "osv", "--osv-url", source]


def test_the_lock_of_this_project() -> None:
    """Everything has one version and hashes, on this machine and elsewhere."""
    locked, problems = read_lock(LOCK.read_text())
    assert not problems and len(locked) > 100
    assert {"dagster", "psycopg", "cryptography"} <= {one.name for one in locked}
    assert LOCK.read_text().count("==") >= len(locked)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a==1.0\n", "a: no --hash"),
        (f"a==1.0 \\\n    --hash=md5:{'0' * 32}\n", "a: no --hash"),
        (f"a==1.0 \\\n    --hash=sha256:{'0' * 63}\n", "a: no --hash"),
        (f"a>=1.0 {HASH}\n", "a: expected one version"),
        (f"a==1.* {HASH}\n", "a: expected one version"),
        (f"a==1.0,<2 {HASH}\n", "a: expected one version"),
        (f"a {HASH}\n", "a: expected one version"),
        ("-e .\n", "no requirement such as"),
        ("--index-url https://elsewhere.example\n", "no requirement such as"),
        ("# nothing\n", "the lock is empty"),
    ],
)
def test_locks_that_are_none(text: str, words: str) -> None:
    """Each is named."""
    _, problems = read_lock(text)
    assert len(problems) == 1 and words in problems[0]


def test_what_holds_elsewhere_is_not_compared() -> None:
    """But has to be locked as well."""
    locked, problems = read_lock(f"A_b==1.0 ; python_version < '3' \\\n {HASH}\nC.d==2.0 ; python_version >= '3' \\\n {HASH}\n")
    assert (locked, problems) == ([Locked("c-d", "2.0")], [])
    assert compare(locked, {"c-d": "2.0", "more": "1"}) == []
    assert compare(locked, {"c-d": "2.1"}) == ["c-d: 2.0 is locked, 2.1 is installed"]
    assert compare(locked, {}) == ["c-d: 2.0 is locked, nothing is installed"]


def test_an_installation_that_is_not_the_locks(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is looked up."""
    lock.write_text(lock.read_text().replace(VERSION, "0.0.1"))
    assert main(lock) == 1
    assert f"pytest: 0.0.1 is locked, {VERSION} is installed" in capsys.readouterr().out


def test_a_known_vulnerability(source: str, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pip-audit asks; what it is told fails the lint, with the version that mends it."""
    affected = {
        "package": {"name": "pytest", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "999.1"}]}],
    }
    made_up = {"id": "PYSEC-2026-1", "aliases": [], "summary": "made up", "details": "", "affected": [affected]}
    _Source.answers = {"vulns": [made_up | {"published": "2026-01-01T00:00:00Z"}]}
    assert main(lock, options(source)) == 1
    assert f"vulnerable: pytest {VERSION}: PYSEC-2026-1, mended in 999.1" in capsys.readouterr().out
    assert _Source.asked == ["pytest"]
    _Source.answers = {}
    assert main(lock, options(source)) == 0
    assert capsys.readouterr().out == "1 packages are as locked, by version and hash; pip-audit looked up 1\n"


def test_a_source_that_does_not_answer(source: str, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody there, or no end: one line says what was not checked, and the lint goes on."""
    assert main(lock, options("http://user:hidden@127.0.0.1:1/v1/query")) == 0
    said = capsys.readouterr().out
    assert "looked up 0: its source cannot be reached" in said and "hidden" not in said
    _Source.pause = 60
    assert main(lock, options(source), seconds=3) == 0
    assert "looked up 0: its source did not answer within 3 s, so these were not checked" in capsys.readouterr().out
