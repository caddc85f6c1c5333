"""Who can reach what runs: by default this machine alone; told otherwise, a command says what that opens."""

import re
from functools import partial
from pathlib import Path

import pytest

from analytics_assets.listening import address, is_loopback
from analytics_assets_tests.browser.dagster_ui import wait_for
from analytics_assets_tests.surface.processes import listeners, started


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
        ("", False), ("10.0.0.7", False), ("192.0.2.1", False), ("no-such-host.invalid", False),
    ],
)  # fmt: skip
def test_which_addresses_are_this_machines(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def test_an_address_in_a_url() -> None:
    assert (address("::1", 80), address("127.0.0.1", 80)) == ("[::1]:80", "127.0.0.1:80")


def _says_where(log: Path) -> bool:
    return "(Ctrl-C stops it)" in log.read_text()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_collector_and_sandbox(database: str, tmp_path: Path, host: str) -> None:
    """On the loopback address when nothing is said; on all of them where it is asked for, with a warning."""
    option = [] if host == "127.0.0.1" else ["--host", host]
    collector, sandbox = tmp_path / "collector.log", tmp_path / "sandbox.log"
    with (
        started("collector", "--port", "0", *option, log=collector) as first,
        started("sandbox", "--port", "0", "--organizations", "1", "--days", "1", *option, log=sandbox) as second,
    ):
        for process, log, what in ((first, collector, "collector"), (second, sandbox, "sandbox")):
            wait_for(f"address of the {what}", partial(_says_where, log), 60)
            found = {one.address for one in listeners(process.pid) if one.port}
            assert found == {host}
            warned = re.search(
                r"warning: 0\.0\.0\.0:\d+ can be reached from other machines: .*\nTo protect it: ", log.read_text()
            )
            assert (warned is not None) is bool(option)
