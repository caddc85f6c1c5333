"""Dagster's web interface as an operator uses it, in a real browser on a real server."""

import re
import shutil
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect, sync_playwright

from analytics_assets.database import connect
from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests import woocommerce
from analytics_assets_tests.browser.dagster_ui import (
    CHROMIUM_FLAGS,
    DagsterUI,
    find_chromium,
    launch,
    open_launch_dialog,
    open_partition,
    wait_for,
)
from analytics_assets_tests.conftest import _drop_database, _make_database

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (on Debian: apt-get install chromium)"),
]

LINEAGE = [
    "organizations",
    "data_sources",
    "raw_google_analytics",
    "raw_meta_ads",
    "raw_woocommerce",
    "raw_shopify",
    "orders",
    "event_tracking",
    "realtime_sessions",
    "hourly_aggregates",
    "daily_aggregates",
    "cohort_analysis",
    "funnel_analysis",
    "performance_alerts",
    "ai_insights",
    "rule_insights",
]
COMPUTED = ["orders", "hourly_aggregates"]
# Organisation: time zone. Half an hour off UTC too.
ORGANIZATIONS = {"acme": "UTC", "chai-house": "Asia/Kolkata", "maple-books": "America/Toronto"}
TODAY = datetime.combine(datetime.now(UTC).date(), time(), UTC)
FIRST_HOUR = TODAY - timedelta(days=33)
MONTH_START, MONTH_END = TODAY - timedelta(days=30), TODAY - timedelta(hours=1)
DAYS_WITH_ORDERS = 21
ORDERS_A_DAY = 4
HOUR = TODAY - timedelta(days=2) + timedelta(hours=12)


def key(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%d-%H:%M")


@dataclass(frozen=True)
class Server:
    """The running interface and where its instance lives."""

    ui: DagsterUI
    dagster_home: Path

    def materialized(self, asset: str, organization: str) -> set[str]:
        """Hours of an organisation that Dagster calls materialized."""
        with dg.DagsterInstance.from_config(str(self.dagster_home)) as instance:
            keys = instance.get_materialized_partitions(dg.AssetKey(asset))
        return {one.partition("|")[0] for one in keys if one.endswith(f"|{organization}")}


@pytest.fixture(scope="module")
def server(server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`analytics ui`, its automation turned off, over three weeks of raw pages of which nothing is computed."""
    folder = tmp_path_factory.mktemp("ui")
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    name = f"analytics_browser_{uuid.uuid4().hex[:8]}"
    url = _make_database(server_url, name, template_database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("ANALYTICS_HOME", str(folder / "home"))
        with connect() as connection:
            for slug, zone in ORGANIZATIONS.items():
                woocommerce.add_organization(connection, slug, zone)
        ui = DagsterUI({"DAGSTER_HOME": str(home), "ANALYTICS_HOURLY_START": f"{FIRST_HOUR:%Y-%m-%d}"}, folder / "ui.log")
        try:
            ui.wait_until_up()
            ui.skip_greeting()
            ui.stop_automation()
            # Not before: the sensor for stale partitions would compute them at once.
            (folder / "pages").mkdir()
            with connect() as connection:
                for slug, zone in ORGANIZATIONS.items():
                    woocommerce.take_in(connection, folder / "pages", slug, "orders", *_pages(zone))
            yield Server(ui, home)
        finally:
            status = ui.stop()
            _drop_database(server_url, name)
    assert status == 0, f"analytics ui ended with status {status} on Ctrl-C:\n{ui.output()[-3000:]}"


def _pages(zone: str) -> list[list[dict[str, object]]]:
    """A page a day: two orders of 20.50 and 4.50 in the hour of noon (UTC), and others in the evening."""
    pages = []
    for day in range(1, DAYS_WITH_ORDERS + 1):
        midnight = TODAY - timedelta(days=day)
        at = [(12, 35, "20.50"), (12, 50, "4.50"), (18, 40, f"{day}.00"), (20, 45, "9.99")]
        assert len(at) == ORDERS_A_DAY
        pages.append(
            [
                woocommerce.order(day * 10 + number, midnight + timedelta(hours=hour, minutes=minute), total, zone=zone)
                for number, (hour, minute, total) in enumerate(at)
            ]
        )
    return pages


@pytest.fixture(scope="module")
def browser(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Chromium that reaches nothing but the server."""

    def only_the_server(route: Route) -> None:
        if route.request.url.startswith((f"{server.ui.url}/", "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=CHROMIUM,
            headless=True,
            args=CHROMIUM_FLAGS,
            base_url=server.ui.url,
            viewport={"width": 1400, "height": 900},
            timezone_id="UTC",
        )
        context.route("**/*", only_the_server)
        context.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        yield context
        context.close()


@pytest.fixture(scope="module")
def exceptions(browser: BrowserContext) -> list[str]:
    """Exceptions that no code of a page caught, of all pages."""
    found: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))

    browser.on("page", watch)
    return found


@pytest.fixture
def page(browser: BrowserContext, exceptions: list[str]) -> Iterator[Page]:
    """A page that must not throw."""
    opened = browser.new_page()
    yield opened
    opened.close()
    assert not exceptions


@dataclass(frozen=True)
class Month:
    """The backfill of a month, and what the dialog said that it would do."""

    backfill_id: str
    preview: str


@pytest.fixture(scope="module")
def month(browser: BrowserContext, exceptions: list[str]) -> Month:
    """A backfill of chai-house over a month, launched from the interface. The daemon takes it up within half a minute."""
    page = browser.new_page()
    open_launch_dialog(page, COMPUTED, f"[{key(MONTH_START)}...{key(MONTH_END)}]", "chai-house", "720 partitions")
    page.get_by_text("Preview", exact=True).click()
    expect(page.get_by_text("720 partitions", exact=True)).to_have_count(3)
    preview = page.get_by_text("Backfill preview").locator("xpath=ancestor::*[.//button][1]").inner_text()
    page.get_by_role("button", name="OK").click()
    backfill_id = launch(page, "Launch backfill", r"/runs/b/(\w+)")
    page.close()
    return Month(backfill_id, preview)


@pytest.fixture(scope="module")
def hour_run(browser: BrowserContext, exceptions: list[str]) -> str:
    """Id of a run for acme and one hour, launched from the interface, when its page says Success."""
    page = browser.new_page()
    open_launch_dialog(page, COMPUTED, key(HOUR), "acme", "1 partition")
    run_id = launch(page, "Launch 1 run", r"/runs/([0-9a-f-]{36})")
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=180_000)
    page.close()
    return run_id


# First, since the daemon works on it while the other tests go on.
def test_the_collector_runs_beside(server: Server) -> None:
    """`analytics ui` names its address, and there it takes events."""
    found = re.search(r"Collector of tracked events: (http://\S+)", server.ui.output())
    assert found is not None, server.ui.output()
    with urllib.request.urlopen(f"{found[1]}/health", timeout=10) as response:
        assert response.read() == b'{"status":"ok"}'


def test_a_month_is_offered_as_one_run_an_asset(month: Month) -> None:
    assert month.preview.count("Backfills all partitions in a single run") == len(COMPUTED)


def test_lineage_goes_from_organizations_to_daily_aggregates(server: Server, page: Page) -> None:
    page.goto("/asset-groups")
    answer = server.ui.ask("{ assetNodes { groupName assetKey { path } } }")
    groups = {node["assetKey"]["path"][-1]: node["groupName"] for node in answer["assetNodes"]}
    boxes = page.locator("foreignObject:not(.group)")
    expect(page.locator("foreignObject").first).to_be_visible()
    for group in dict.fromkeys(groups[name] for name in LINEAGE):
        member = boxes.filter(has_text=next(name for name in LINEAGE if groups[name] == group))
        if not member.count():
            page.locator("foreignObject.group").filter(has_text=group).first.click()
        expect(member.first).to_be_visible()
    # Opening a group moves the others out of sight; what is open stays so.
    page.reload()
    # A long name is shown without its middle.
    shown = {name: boxes.filter(has_text=re.compile(f"^({name}|{name[:7]}…)")) for name in LINEAGE}
    for name in LINEAGE:
        expect(shown[name]).to_be_visible()
    spans = {}
    for name in LINEAGE:
        box = shown[name].bounding_box()
        assert box is not None
        spans[name] = box["x"], box["x"] + box["width"]
    answer = server.ui.ask("{ assetNodes { assetKey { path } dependencyKeys { path } } }")
    depends = [
        (dependency["path"][-1], node["assetKey"]["path"][-1])
        for node in answer["assetNodes"]
        for dependency in node["dependencyKeys"]
    ]
    assert all(spans[upstream][1] < spans[asset][0] for upstream, asset in depends)
    # An edge begins at the right side of a box and ends at the left side of another; boxes of a column share both.
    right = {name: round(spans[name][1] / 20) for name in LINEAGE}
    left = {name: round(spans[name][0] / 20) for name in LINEAGE}
    drawn: Counter[tuple[int, int]] = Counter()
    for begin, end in page.locator("path[marker-end]").evaluate_all(
        "paths => paths.map(path => path.getBoundingClientRect()).map(box => [box.left, box.right])"
    ):
        source = min(spans, key=lambda name: abs(spans[name][1] - begin))
        target = min(spans, key=lambda name: abs(spans[name][0] - end))
        drawn[right[source], left[target]] += 1
    assert drawn == Counter((right[upstream], left[asset]) for upstream, asset in depends)


def test_partitions_are_listed_by_hour_and_by_organization(page: Page) -> None:
    page.goto("/assets/hourly_aggregates?view=partitions")
    expect(page.get_by_placeholder("Filter by hour")).to_be_visible()
    expect(page.get_by_placeholder("Filter by organization")).to_be_visible()
    for slug in ORGANIZATIONS:
        expect(page.get_by_title(slug, exact=True)).to_be_visible()
    ended = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = int((ended - FIRST_HOUR) / timedelta(hours=1))
    expect(page.get_by_text("Partitions Selected")).to_contain_text(
        re.compile("|".join(f"{(hours + more) * len(ORGANIZATIONS):,}" for more in (-1, 0, 1)))
    )
    for hour in (FIRST_HOUR, HOUR, ended - timedelta(hours=2)):
        page.get_by_placeholder("Filter by hour").fill(key(hour))
        expect(page.get_by_title(key(hour), exact=True)).to_be_visible()


def test_one_hour_of_one_organisation_is_computed_from_the_dialog(server: Server, hour_run: str, page: Page) -> None:
    (run,) = server.ui.runs(runIds=[hour_run])
    assert run.status == "SUCCESS" and run.assets == set(COMPUTED)
    assert run.tags["dagster/partition"] == f"{key(HOUR)}|acme"
    for asset in COMPUTED:
        assert server.materialized(asset, "acme") == {key(HOUR)}
        open_partition(page, asset, key(HOUR), "acme")
        expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
    with connect() as connection:
        assert woocommerce.hourly(connection, "acme", "total_sales") == {HOUR: Decimal("25.00")}
        assert woocommerce.hourly(connection, "acme", "orders") == {HOUR: 2}
        assert woocommerce.hourly(connection, "maple-books", "orders") == {}


def test_materialization_shows_row_count_preview_and_plot(server: Server, hour_run: str, page: Page) -> None:
    with connect() as connection:
        counted = connection.execute(
            'select count(*) as n from public.hourly_aggregates where "timestamp" = %s'
            " and organization_id = (select id from public.organizations where slug = 'acme')",
            (HOUR,),
        ).fetchone()
    assert counted is not None and counted["n"] > 0
    open_partition(page, "hourly_aggregates", key(HOUR), "acme")
    row_count = page.locator("tr").filter(has_text="dagster/partition_row_count")
    expect(row_count).to_contain_text(re.compile(rf"count\s*{counted['n']}\s*$"))

    def show(name: str) -> None:
        page.locator("tr").filter(has=page.get_by_text(name, exact=True)).get_by_text("[Show Markdown]").click()

    show("preview")
    total_sales = page.get_by_role("row").filter(has=page.get_by_role("cell", name="total_sales", exact=True))
    expect(total_sales.get_by_role("cell").first).to_have_text("acme")
    expect(total_sales).to_contain_text("25")
    page.get_by_role("button", name="Close", exact=True).click()
    show("plot")
    picture = page.locator("img[src^='data:image/png;base64,']")
    expect(picture).to_be_visible()
    wait_for("rendered plot", lambda: picture.evaluate("image => image.complete && image.naturalWidth > 0"), 10)


def test_checks_are_named_and_passed(hour_run: str, page: Page) -> None:
    page.goto("/assets/hourly_aggregates?view=checks")
    heading = page.get_by_text(re.compile(r"^Checks \(\d+\)$"))
    expect(heading).to_be_visible()
    for name in ("organizations_computed", "equals_recount_from_raw", "no_gap_in_processed_hours", "known_organizations_only"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    # While the month's run is at work on the same checks, they are shown as running.
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(int(re.sub(r"\D", "", heading.inner_text())), timeout=120_000)


def test_a_month_of_one_organisation_becomes_one_run(server: Server, month: Month, page: Page) -> None:
    wait_for("end of the backfill", lambda: server.ui.backfill_status(month.backfill_id) not in ("REQUESTED", "COMPLETING"), 120)
    assert server.ui.backfill_status(month.backfill_id) == "COMPLETED_SUCCESS"
    (run,) = server.ui.runs(tags=[{"key": "dagster/backfill", "value": month.backfill_id}])
    assert run.status == "SUCCESS" and run.assets == set(COMPUTED)
    assert run.tags["dagster/asset_partition_range_start"] == f"{key(MONTH_START)}|chai-house"
    assert run.tags["dagster/asset_partition_range_end"] == f"{key(MONTH_END)}|chai-house"

    page.goto(f"/runs/b/{month.backfill_id}")
    expect(page.get_by_text("100% completed", exact=True)).to_have_count(len(COMPUTED))
    page.get_by_role("tab", name="Runs").or_(page.get_by_text("Runs", exact=True)).last.click()
    expect(page.locator(f"a[href^='/runs/{run.id}']").first).to_be_visible()

    hours = {key(MONTH_START + timedelta(hours=hour)) for hour in range(720)}
    for asset in COMPUTED:
        assert server.materialized(asset, "chai-house") == hours
    for hour in (MONTH_START, MONTH_END):
        open_partition(page, "hourly_aggregates", key(hour), "chai-house")
        expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
    with connect() as connection:
        orders = woocommerce.hourly(connection, "chai-house", "orders")
        assert sum(orders.values()) == DAYS_WITH_ORDERS * ORDERS_A_DAY
        assert woocommerce.hourly(connection, "maple-books", "orders") == {}
