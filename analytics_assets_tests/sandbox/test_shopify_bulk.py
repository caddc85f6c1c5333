"""Shopify's bulk operations: from their beginning to the file of their result."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from analytics_assets.sandbox.faults import Fault
from analytics_assets_tests.sandbox.shopify_reader import ORDER, SALE, Node, Served, ShopClient, every_order, serve
from analytics_assets_tests.sandbox.store_server import BERLIN, KOLKATA, NOW

served = pytest.fixture(serve)
#: For tests that neither set clock or faults nor spend many points.
shared = pytest.fixture(serve, scope="module")
BULK = f"""{{ orders(query: "updated_at:>='2026-10-20T00:00:00Z'"){{ edges{{ node{{ {ORDER}
  agreements{{ edges{{ node{{ id happenedAt reason sales{{ edges{{ node{{ {SALE} }} }} }} }} }} }} }} }} }} }}"""
RUN = """mutation($query:String!,$group:Boolean!){ bulkOperationRunQuery(query:$query, groupObjects:$group){
  bulkOperation{id status url} userErrors{field message code} } }"""

STATUS = "id status objectCount rootObjectCount fileSize url errorCode completedAt"


def assembled(lines: list[Node]) -> dict[str, Node]:
    """Orders with agreements and sales, from lines in any order."""
    by_id = {line["id"]: {**line, "below": []} for line in lines}
    for line in lines:
        if "__parentId" in line:
            by_id[line["__parentId"]]["below"].append(by_id[line["id"]])
    return {key: line for key, line in by_id.items() if "__parentId" not in line}


def finished(shop: ShopClient, identifier: str) -> Node:
    for _ in range(10):
        operation: Node = shop.ask(f"query($id:ID!){{node(id:$id){{... on BulkOperation{{{STATUS}}}}}}}", id=identifier)["node"]
        if operation["status"] not in ("CREATED", "RUNNING"):
            return operation
    raise AssertionError(operation)


@pytest.mark.parametrize("grouped", [True, False])
def test_a_bulk_operation_says_what_paging_says(served: Served, grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics_assets.sandbox.shopify_access.RESTORE", 1_000_000)
    shop = served.shop(BERLIN)
    payload = shop.ask(RUN, query=BULK, group=grouped)["bulkOperationRunQuery"]
    assert payload["userErrors"] == []
    assert payload["bulkOperation"]["status"] == "CREATED"
    running = shop.ask(f"{{currentBulkOperation{{{STATUS}}}}}")["currentBulkOperation"]
    assert (running["status"], running["url"], running["id"]) == ("RUNNING", None, payload["bulkOperation"]["id"])
    served.sandbox.clock.set(NOW + timedelta(days=2))
    operation = finished(shop, running["id"])
    assert operation["status"] == "COMPLETED" and operation["errorCode"] is None
    answer = served.http.get(operation["url"])
    assert str(len(answer.content)) == operation["fileSize"]
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert operation["objectCount"] == str(len(lines))
    orders = assembled(lines)
    assert operation["rootObjectCount"] == str(len(orders))
    # As the shop was when the operation was created.
    served.sandbox.clock.set(NOW)
    for order in every_order(shop, "updated_at:>='2026-10-20T00:00:00Z'"):
        found = orders.pop(order["id"])
        assert {key: value for key, value in found.items() if key != "below"} == {
            k: v for k, v in order.items() if k != "agreements"
        }
        assert [agreement["id"] for agreement in found["below"]] == [agreement["id"] for agreement in order["agreements"]]
        for line, agreement in zip(found["below"], order["agreements"], strict=True):
            sales = [{k: v for k, v in sale.items() if k not in ("below", "__parentId")} for sale in line["below"]]
            assert sales == agreement["sales"]
    assert not orders
    positions = {line["id"]: n for n, line in enumerate(lines)}
    assert all(positions[line["__parentId"]] < n for n, line in enumerate(lines) if "__parentId" in line)
    roots = [n for n, line in enumerate(lines) if "__parentId" not in line]
    assert (roots == list(range(len(roots)))) is not grouped


def test_five_bulk_operations_run_at_once_and_can_be_cancelled(served: Served) -> None:
    shop = served.shop(BERLIN)
    ids = [shop.ask(RUN, query=BULK, group=True)["bulkOperationRunQuery"]["bulkOperation"]["id"] for _ in range(5)]
    refused = shop.ask(RUN, query=BULK, group=True)["bulkOperationRunQuery"]
    assert (refused["bulkOperation"], refused["userErrors"][0]["code"]) == (None, "OPERATION_IN_PROGRESS")
    cancel = "mutation($id:ID!){bulkOperationCancel(id:$id){bulkOperation{status} userErrors{message}}}"
    assert shop.ask(cancel, id=ids[0])["bulkOperationCancel"] == {"bulkOperation": {"status": "CANCELING"}, "userErrors": []}
    assert finished(shop, ids[0])["status"] in ("CANCELING", "CANCELED")
    assert finished(shop, ids[0])["status"] == "CANCELED"
    assert shop.ask(cancel, id=ids[0])["bulkOperationCancel"]["userErrors"]
    assert shop.ask(RUN, query=BULK, group=True)["bulkOperationRunQuery"]["userErrors"] == []
    every = shop.ask("{bulkOperations(first:10){nodes{id status}}}")["bulkOperations"]["nodes"]
    assert [one["id"] for one in every[:5]] == ids and len(every) == 6
    assert served.shop(KOLKATA).ask("{currentBulkOperation{id}}") == {"currentBulkOperation": None}
    assert served.shop(KOLKATA).ask("query($id:ID!){bulkOperation(id:$id){id}}", id=ids[0]) == {"bulkOperation": None}


def test_a_bulk_operation_that_finds_nothing_fails_or_has_grown_old(served: Served) -> None:
    shop = served.shop(BERLIN)
    nothing = BULK.replace("2026-10-20", "2026-12-20")
    operation = finished(shop, shop.ask(RUN, query=nothing, group=True)["bulkOperationRunQuery"]["bulkOperation"]["id"])
    assert (operation["status"], operation["objectCount"], operation["url"]) == ("COMPLETED", "0", None)
    operation = finished(shop, shop.ask(RUN, query=BULK, group=True)["bulkOperationRunQuery"]["bulkOperation"]["id"])
    assert served.http.get(operation["url"]).status_code == 200
    served.sandbox.clock.set(NOW + timedelta(days=8))
    assert served.http.get(operation["url"]).status_code == 404
    served.sandbox.faults.add(Fault("failed_job", "shopify", most=1))
    operation = finished(shop, shop.ask(RUN, query=BULK, group=True)["bulkOperationRunQuery"]["bulkOperation"]["id"])
    assert (operation["status"], operation["errorCode"]) == ("FAILED", "INTERNAL_SERVER_ERROR")


@pytest.mark.parametrize(
    "query", ["{shop{name}}", "{orders{pageInfo{hasNextPage}}}", "{orders{nodes{agreements{nodes{id}}}}}", "{orders{nodes{nme}}}"]
)
def test_what_cannot_be_run_in_bulk_is_refused(shared: Served, query: str) -> None:
    payload = shared.shop(BERLIN).ask(RUN, query=query, group=True)["bulkOperationRunQuery"]
    assert payload["bulkOperation"] is None
    assert payload["userErrors"][0]["code"] == "INVALID"
