"""Bulk operations: a query over all of a shop's orders, whose result is a file of JSON lines.

An operation goes on each time somebody looks at it (CREATED, RUNNING, RUNNING, COMPLETED), and by itself after half a
minute. Its result is the shop as it was when the operation was created, and is made anew at each download. A line is an
object without its connections; the objects of a connection have lines of their own with ``__parentId``: right after
their parent where groupObjects was asked for, else level by level.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analytics_assets.sandbox.shopify_graphql import Field, Query, QueryError, prepare, select
from analytics_assets.sandbox.shopify_records import Many, Node, gid, instant, order_node
from analytics_assets.sandbox.shopify_search import matching, read_search
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization

#: Of one app and shop, at once.
CONCURRENT = 5
_CONNECTIONS, _DEPTH = 5, 3
_POLLS, _SECONDS, _VALID = 3, 30.0, 7 * 86400
_KEPT = 100


@dataclass
class Operation:
    """A bulk operation. Times by the sandbox's clock; ``started`` is the machine's, for the half minute."""

    number: int
    one: SandboxOrganization
    text: str
    orders: Field
    grouped: bool
    created: int
    started: float = field(default_factory=time.monotonic)
    polls: int = 0
    status: str = "CREATED"
    completed: int | None = None
    error: str | None = None
    objects: int = 0
    roots: int = 0
    size: int = 0

    @property
    def key(self) -> str:
        """The name of its file: nobody guesses it."""
        return hashlib.sha256(f"{self.one.secret('shopify bulk')}:{self.number}:{self.created}".encode()).hexdigest()[:40]

    @property
    def is_over(self) -> bool:
        return self.status in ("COMPLETED", "CANCELED", "FAILED")


class BulkOperations:
    """The bulk operations of a running server."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._operations: dict[str, list[Operation]] = {}
        self._files: dict[str, Operation] = {}
        self._count = 0

    def run(self, one: SandboxOrganization, arguments: Mapping[str, Any]) -> Node:
        """The payload of bulkOperationRunQuery."""
        mine = self._operations.setdefault(one.slug, [])
        for operation in mine:
            self._go_on(operation, polled=False)
        if sum(not operation.is_over for operation in mine) >= CONCURRENT:
            return _payload(None, "A bulk query operation for this app and shop is already in progress.", "OPERATION_IN_PROGRESS")
        try:
            orders = _orders_of(prepare(arguments["query"]))
        except QueryError as error:
            return _payload(None, f"Invalid bulk query: {error}", "INVALID")
        self._count += 1
        operation = Operation(self._count, one, arguments["query"], orders, arguments["groupObjects"], self._now())
        mine.append(operation)
        self._files[operation.key] = operation
        for forgotten in mine[:-_KEPT]:
            del self._files[forgotten.key]
        del mine[:-_KEPT]
        return _payload(self._node(operation, ""))

    def cancel(self, one: SandboxOrganization, identifier: str, base: str) -> Node:
        """The payload of bulkOperationCancel."""
        operation = self._find(one, identifier)
        if operation is None:
            return _payload(None, "Bulk operation does not exist")
        if operation.is_over:
            return _payload(
                self._node(operation, base), f"A bulk operation cannot be canceled when it is {operation.status.lower()}"
            )
        operation.status = "CANCELING"
        return _payload(self._node(operation, base))

    def current(self, one: SandboxOrganization, base: str) -> Node | None:
        """The newest operation; looking at it lets it go on."""
        mine = self._operations.get(one.slug, [])
        return self._polled(mine[-1], base) if mine else None

    def get(self, one: SandboxOrganization, identifier: str, base: str) -> Node | None:
        """An operation by its id; looking at it lets it go on."""
        operation = self._find(one, identifier)
        return None if operation is None else self._polled(operation, base)

    def all(self, one: SandboxOrganization, base: str) -> Many:
        """Every operation of the shop, oldest first."""
        return Many([self._polled(operation, base) for operation in self._operations.get(one.slug, [])])

    def file(self, key: str) -> bytes | None:
        """The result by the name of its file; None: there is none, or it is older than a week."""
        operation = self._files.get(key)
        if operation is None or operation.completed is None or operation.completed + _VALID < self._now():
            return None
        return b"".join(self._lines(operation))

    def _now(self) -> int:
        return int(self._sandbox.clock.now().timestamp())

    def _find(self, one: SandboxOrganization, identifier: str) -> Operation | None:
        mine = self._operations.get(one.slug, [])
        return next((operation for operation in mine if gid("BulkOperation", operation.number) == identifier), None)

    def _polled(self, operation: Operation, base: str) -> Node:
        self._go_on(operation, polled=True)
        return self._node(operation, base)

    def _go_on(self, operation: Operation, *, polled: bool) -> None:
        if operation.is_over:
            return
        if operation.status == "CANCELING":
            operation.status = "CANCELED"
            return
        operation.polls += polled
        if operation.polls < _POLLS and time.monotonic() - operation.started < _SECONDS:
            operation.status = "RUNNING" if operation.polls else operation.status
            return
        if self._sandbox.faults.strike("shopify", operation.one.slug, ("failed_job",)):
            operation.status, operation.error = "FAILED", "INTERNAL_SERVER_ERROR"
            return
        for line in self._lines(operation):
            operation.objects += 1
            operation.roots += b'"__parentId":' not in line
            operation.size += len(line)
        operation.status, operation.completed = "COMPLETED", max(self._now(), operation.created)

    def _node(self, operation: Operation, base: str) -> Node:
        url = f"{base}/shopify-results/{operation.key}.jsonl" if operation.completed is not None and operation.objects else None
        return {
            "__typename": "BulkOperation", "id": gid("BulkOperation", operation.number), "status": operation.status,
            "type": "QUERY", "query": operation.text, "createdAt": instant(operation.created),
            "completedAt": instant(operation.completed), "errorCode": operation.error, "objectCount": str(operation.objects),
            "rootObjectCount": str(operation.roots), "fileSize": str(operation.size) if url else None, "url": url,
            "partialDataUrl": None,
        }  # fmt: skip

    def _lines(self, operation: Operation) -> Iterator[bytes]:
        shop, query = operation.one.shop, operation.orders.arguments.get("query") or ""
        found = matching(read_search(query, shop), shop, self._sandbox.world.first_day, operation.created)
        nodes = ((order_node(shop, entry, phase), None) for entry, phase in found)
        return (
            json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
            for line in (_grouped if operation.grouped else _by_level)(operation.orders, nodes)
        )


_Placed = tuple[Mapping[str, Any], str | None]


def _payload(operation: Node | None, problem: str = "", code: str | None = None) -> Node:
    errors: list[Node] = []
    if problem:
        errors.append({"__typename": "BulkOperationUserError", "field": None, "message": problem, "code": code})
        if code is None:
            errors[0]["__typename"] = "UserError"
    return {"__typename": "BulkOperationPayload", "bulkOperation": operation, "userErrors": errors}


def _orders_of(query: Query) -> Field:
    """The connection that a bulk query reads. Raises QueryError."""
    if query.kind != "query" or len(query.fields) != 1 or query.fields[0].name != "orders":
        raise QueryError("the sandbox runs bulk queries over orders alone")
    count, depth = _measure(query.fields[0])
    if count > _CONNECTIONS:
        raise QueryError(f"Bulk queries cannot contain more than {_CONNECTIONS} connections.")
    if depth > _DEPTH:
        raise QueryError(f"Bulk queries cannot contain connections with a nesting depth greater than {_DEPTH - 1}.")
    return query.fields[0]


def _measure(connection: Field) -> tuple[int, int]:
    """How many connections there are, this one included, and how deep they go. Raises QueryError."""
    inner: dict[str, Field] = {}
    for fields in _node_fields(connection).values():
        inner |= {field.key: field for field in fields if field.is_connection}
        if any(field.is_connection for field in fields) and not any(field.name == "id" for field in fields):
            raise QueryError("The 'id' field must be selected on a parent of a connection.")
    below = [_measure(one) for one in inner.values()]
    return 1 + sum(count for count, _ in below), 1 + max((depth for _, depth in below), default=0)


def _node_fields(connection: Field) -> Mapping[str, tuple[Field, ...]]:
    """Fields asked of a connection's nodes, by the type of the node."""
    for fields in connection.below.values():
        for one in fields:
            if one.name == "nodes":
                return one.below
            if one.name == "edges":
                for inner in next(iter(one.below.values())):
                    if inner.name == "node":
                        return inner.below
    raise QueryError("A connection must have nodes, or edges with a node.")


def _line(fields: Sequence[Field], node: Mapping[str, Any], parent: str | None) -> Node:
    line = select([one for one in fields if not one.is_connection], node)[0]
    return line if parent is None else {**line, "__parentId": parent}


def _children(fields: Sequence[Field], node: Mapping[str, Any]) -> Iterator[tuple[Field, Iterator[_Placed]]]:
    for one in fields:
        if one.is_connection:
            yield one, ((child, node["id"]) for child in node[one.name].nodes)


def _grouped(connection: Field, nodes: Iterator[_Placed]) -> Iterator[Node]:
    by_type = _node_fields(connection)
    for node, parent in nodes:
        fields = by_type[node["__typename"]]
        yield _line(fields, node, parent)
        for inner, children in _children(fields, node):
            yield from _grouped(inner, children)


def _by_level(connection: Field, nodes: Iterator[_Placed]) -> Iterator[Node]:
    level: list[tuple[Field, list[_Placed]]] = [(connection, list(nodes))]
    while level:
        deeper: list[tuple[Field, list[_Placed]]] = []
        for one, placed in level:
            by_type = _node_fields(one)
            for node, parent in placed:
                fields = by_type[node["__typename"]]
                yield _line(fields, node, parent)
                deeper += [(inner, list(children)) for inner, children in _children(fields, node)]
        level = deeper
