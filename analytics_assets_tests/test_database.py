"""Where the databases are: URLs, errors that tell, and the embedded server's life."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from analytics_assets.database import DatabaseError, analytics_url, connect, conninfo, dagster_url, stop_embedded
from analytics_assets.settings import SettingError, Settings, note
from analytics_assets_tests.conftest import MEMORY

SECRET = "pa55@word/?#"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, and no settings in the environment."""
    for name in [*(name for name in os.environ if name.startswith("ANALYTICS_")), "DATABASE_URL", "DAGSTER_DATABASE_URL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANALYTICS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_every_spelling_of_a_postgresql_url(home: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Hosters write postgres://, SQLAlchemy wants a driver, libpq knows none."""
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:pa55%40word%2F%3F%23@db.example:6543/data?sslmode=require")
    url = analytics_url()
    assert (url.drivername, url.password, url.host, url.port) == ("postgresql+psycopg", SECRET, "db.example", 6543)
    assert conninfo(url) == "postgresql://u:pa55%40word%2F%3F%23@db.example:6543/data?sslmode=require"
    dagster = make_url(dagster_url())
    assert dagster.drivername == "postgresql+psycopg2" and dagster.password == SECRET
    assert dagster.query == {"sslmode": "require", "options": "-csearch_path=dagster"}
    assert not home.exists()


@pytest.mark.parametrize(
    ("url", "user", "password", "host"),
    [
        ("postgresql://u:p?w/#@h/d", "u", "p?w/#", "h"),
        ("postgresql://user@server:pw@h:6543/d", "user@server", "pw", "h"),
        ("postgresql://u:pw@[::1]:6543/d", "u", "pw", "::1"),
        ("postgresql://u:pw@/d?host=/run/postgresql", "u", "pw", None),
    ],
)
def test_urls_that_look_odd(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str, user: str, password: str, host: str | None
) -> None:
    """Marks in a password that need no encoding, a hoster's user names, an address of its own kind, a socket."""
    monkeypatch.setenv("DATABASE_URL", url)
    parsed = analytics_url()
    assert (parsed.username, parsed.password, parsed.host) == (user, password, host)


def test_dagsters_own_url_is_taken_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the driver: from SQLAlchemy 2.1 on none means psycopg 3, with which dagster-postgres fails."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@db.example/data")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", "postgres://d@other.example/runs?options=-cstatement_timeout%3D5s")
    url = make_url(dagster_url())
    assert (url.drivername, url.host, url.database) == ("postgresql+psycopg2", "other.example", "runs")
    assert url.query == {"options": "-cstatement_timeout=5s"}


def test_options_of_the_url_reach_both_connections(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space in them was written as a plus sign, which libpq hands to the server: it refused the connection."""
    url = make_url(database).update_query_dict({"options": "-c statement_timeout=5s -c work_mem=5MB"})
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    ask = "select current_setting('statement_timeout') || current_setting('work_mem')"
    with connect() as connection:
        assert connection.execute(f"{ask} as said").fetchone() == {"said": "5s5MB"}
    engine = sqlalchemy.create_engine(dagster_url(), poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as dagsters:
        said = dagsters.execute(sqlalchemy.text(f"{ask} || current_setting('search_path')")).scalar_one()
    assert said == "5s5MBdagster"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:SECRET@h/d", "DATABASE_URL names a mysql database; only PostgreSQL"),
        ("sqlite:////tmp/x.db", "DATABASE_URL names a sqlite database; only PostgreSQL"),
        ("u:SECRET@h", "DATABASE_URL is not a database URL; expected postgresql://"),
        ("postgresql://u:p@SECRET@h/d", "DATABASE_URL has an @ too many: within a password write @ as %40"),
        ("postgresql://u:p@x/SECRET@h/d", "DATABASE_URL has an @ too many"),
        ("postgresql://u:p@x?SECRET@h/d", "DATABASE_URL has an @ too many"),
        ("postgresql://u:p@x:SECRET@h/d", "DATABASE_URL is not a database URL"),
        ("postgresql://u:SECRET@h:port/d", "DATABASE_URL is not a database URL; expected postgresql://"),
        ("postgresql://u:SECRET@127.0.0.1:1/d", "no connection to PostgreSQL: .*127.0.0.1.*refused"),
        ("postgresql://u:SECRET@no-such-host.invalid/d", "no connection to PostgreSQL: .*no-such-host.invalid"),
        ("postgresql://u:SECRET@127.0.0.1:1/d?sslmodus=x", "no connection to PostgreSQL: .*sslmodus"),
    ],
)
def test_a_url_that_leads_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    """One line that says what is wrong, and never the password. (A port that is no number, and an option that libpq
    does not know, ended in a traceback. Of a password with an @ in it, the rest was named as the host.)"""
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(DatabaseError) as refusal:
        connect()
    assert re.search(words, str(refusal.value), re.DOTALL)
    assert "SECRET" not in str(refusal.value) and refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ANALYTICS_HOURLY_START", "yesterday"), ("ANALYTICS_HOURLY_START", "0"), ("ANALYTICS_HOURLY_START", "2999-01-01"),
        ("ANALYTICS_DAILY_START", "1066-10-14"), ("ANALYTICS_DAILY_START", "2026-02-30"), ("ANALYTICS_KEEP_RAW_DAYS", "0"),
        ("ANALYTICS_KEEP_HOURLY_DAYS", "-3"), ("ANALYTICS_KEEP_DAILY_DAYS", "400.5"), ("ANALYTICS_KEEP_DAILY_DAYS", "99999"),
        ("ANALYTICS_KEEP_RAW_DAYS", "3²"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The message names the variable and its value, wherever it was set. (Superscripts are digits to Python's isdigit,
    but not to int.)"""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError, match=re.escape(f"{variable}={value}: ")):
        Settings.load()
    monkeypatch.delenv(variable)
    Settings.load()
    note(variable, value)
    with pytest.raises(SettingError, match=re.escape(f"{variable}={value}: ")):
        Settings.load()
    (home / "settings.json").write_text("{")
    with pytest.raises(SettingError, match=r"settings\.json cannot be read"):
        Settings.load()


# The embedded server.

JOIN = """
import os, sys
from analytics_assets.database import analytics_url, connect, conninfo
with connect() as connection:
    connection.execute("select pg_advisory_xact_lock(1)")
    connection.execute("create table if not exists public.kept (pid int)")
    connection.execute("insert into public.kept values (%s)", (os.getpid(),))
    row = connection.execute("select count(*) as kept, pg_postmaster_start_time() as since from public.kept").fetchone()
print(row["kept"], row["since"].timestamp(), conninfo(analytics_url()), flush=True)
sys.stdin.read()
"""


class Program:
    """A process that joins the embedded server of a home folder, writes a row and stays."""

    def __init__(self, home: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "ANALYTICS_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOIN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        kept, self.since, self.url = self.process.stdout.readline().split()
        self.kept = int(kept)

    def leave(self) -> None:
        """Ends it as a program ends."""
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


@pytest.fixture
def embedded_home() -> Iterator[Path]:
    """A home folder of its own, the server in it stopped at the end. (Not below pytest's own folders, which it closes.)"""
    folder = Path(tempfile.mkdtemp(prefix="analytics-home-", dir=MEMORY))
    yield folder
    stop_embedded(folder)
    shutil.rmtree(folder)


def postmaster(home: Path) -> int:
    """Process id of the server."""
    return int((home / "postgresql" / "postmaster.pid").read_text().split()[0])


def test_the_embedded_server_asks_everybody_for_a_password(embedded_home: Path) -> None:
    """As root, the wheel's server let every local user in as superuser; its password is for the owner's eyes."""
    program = Program(embedded_home)
    assert stat.S_IMODE((embedded_home / "password").stat().st_mode) == 0o600
    for wrong in (None, "guess"):
        url = re.sub(":[^/@]+@", f":{wrong}@" if wrong else "@", program.url)
        assert url != program.url
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url, passfile=os.devnull, connect_timeout=10)
    with psycopg.connect(program.url) as connection:
        rules = connection.execute("select auth_method from pg_hba_file_rules").fetchall()
        settings = connection.execute("select current_setting('shared_buffers'), current_setting('listen_addresses')").fetchone()
    assert set(rules) == {("scram-sha-256",)} and settings == ("256MB", "")
    program.leave()
    assert not (embedded_home / "postgresql" / "postmaster.pid").exists()


def test_processes_share_the_embedded_server_and_survive_each_other(embedded_home: Path) -> None:
    """A second one joins; the first leaves or is killed, the other works on; the server is killed, the next starts it."""
    first = Program(embedded_home)
    second = Program(embedded_home)
    assert (second.kept, second.since, second.url) == (2, first.since, first.url)
    first.process.kill()
    first.process.communicate()
    third = Program(embedded_home)
    assert (third.kept, third.since) == (3, first.since)
    third.leave()
    with psycopg.connect(second.url) as connection:
        assert connection.execute("select count(*) from public.kept").fetchone() == (3,)
    os.kill(postmaster(embedded_home), signal.SIGKILL)
    fourth = Program(embedded_home)
    assert fourth.kept == 4 and float(fourth.since) > float(first.since)
    fourth.leave()
    second.leave()


def test_two_processes_start_the_embedded_server_at_once(embedded_home: Path) -> None:
    """One makes the data folder and the password, the other waits and joins."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(embedded_home), "ANALYTICS_HOME": str(embedded_home)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sorted(words[0] for words in said) == ["1", "2"] and said[0][2] == said[1][2]


def test_a_home_that_cannot_be_one(home: Path) -> None:
    """A file in its place ended in a traceback."""
    home.write_text("no folder")
    with pytest.raises(DatabaseError, match=f"ANALYTICS_HOME={home}: "):
        connect()
