"""The whole surface, started once: `analytics ui` for operators and for viewers, with secrets in its environment."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from analytics_assets.backfill import materialize_registry
from analytics_assets.database import connect
from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.browser.dagster_ui import DagsterUI
from analytics_assets_tests.conftest import _drop_database, _make_database
from analytics_assets_tests.events.serving import make_key
from analytics_assets_tests.surface.secret_settings import secret_environment


@dataclass(frozen=True)
class Surface:
    """What runs: the operators' interface, the viewers', and a write key of the collector beside the first."""

    operators: DagsterUI
    viewers: DagsterUI
    write_key: str
    run_id: str
    environment: dict[str, str]
    collector_port: int


@pytest.fixture(scope="module")
def surface(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    """`analytics ui --path-prefix /dagster` on the address that it takes by itself, and the read-only one beside it on all of
    them; Dagster knows one run."""
    folder = tmp_path_factory.mktemp("surface")
    name = f"analytics_surface_{uuid.uuid4().hex[:8]}"
    environment = {
        **secret_environment(_make_database(server_url, name, template_database)),
        "ANALYTICS_HOME": str(folder / "home"),
        "DAGSTER_HOME": str(folder),
        "ANALYTICS_COLLECTOR_PROXIES": "127.0.0.1/32",
    }
    shutil.copy(PROJECT_ROOT / "dagster.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        with connect() as connection:
            write_key = make_key(connection)
        with dg.DagsterInstance.get() as instance:
            materialize_registry(instance)
            (run,) = instance.get_runs()
    operators = DagsterUI(environment, folder / "operators.log", "--path-prefix", "/dagster")
    viewers = DagsterUI(environment, folder / "viewers.log", "--path-prefix", "/view", "--read-only", "--host", "0.0.0.0")
    try:
        operators.wait_until_up()
        viewers.wait_until_up()
        found = re.search(r"Collector of tracked events: http://127\.0\.0\.1:(\d+)", operators.output())
        assert found is not None
        yield Surface(operators, viewers, write_key, run.run_id, environment, int(found[1]))
    finally:
        status = [viewers.stop(), operators.stop()]
        _drop_database(server_url, name)
    assert status == [0, 0], operators.output()[-3000:] + viewers.output()[-3000:]
