"""GraphQL as Shopify runs it: documents are parsed and checked by graphql-core, values selected here, and costs reckoned.

Cost is Shopify's: an object one point, a scalar none, a mutation ten, and a connection 2 + the cost of one of its nodes x
floor(2 ln(first)); so the cost of deeper pages grows slowly. Values are dicts by field name with ``__typename``; a field
that is a connection holds a ``Many``, or the page that a root field has cut by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    SourceLocation,
    get_named_type,
    graphql_sync,
    is_composite_type,
    parse,
    validate,
)
from graphql.execution.values import get_argument_values, get_directive_values, get_variable_values
from graphql.type import GraphQLIncludeDirective, GraphQLSkipDirective
from graphql.utilities import get_operation_ast

from analytics_assets.sandbox.shopify_records import Many, Node, cursor, node_number, read_cursor
from analytics_assets.sandbox.shopify_schema import schema

PAGE_LIMIT = 250
_EVERY = 1_000_000_000
Resolver = Callable[["Field"], Any]


class QueryError(Exception):
    """An answer with ``errors`` and no data."""

    def __init__(self, message: str, code: str = "", **more: Any) -> None:
        super().__init__(message)
        self.error: Node = {"message": message}
        locations: Sequence[SourceLocation] | None = more.pop("locations", None)
        if locations:
            self.error["locations"] = [{"line": one.line, "column": one.column} for one in locations]
        if code or more:
            self.error["extensions"] = {**({"code": code} if code else {}), **more}


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is asked for: the key of its value in the answer, its name and arguments, and the fields below it by the
    type of the value."""

    key: str
    name: str
    arguments: Mapping[str, Any]
    below: Mapping[str, tuple[Field, ...]]
    is_connection: bool = False
    is_object: bool = False


@dataclass(frozen=True)
class Page:
    """A page of a connection, its nodes' cursors, and whether there is more."""

    nodes: Sequence[Node]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True)
class Query:
    """An operation that may be run."""

    kind: str
    fields: tuple[Field, ...]
    introspects: bool


@lru_cache(maxsize=256)
def _document(text: str) -> DocumentNode:
    """Raises QueryError."""
    try:
        document = parse(text, no_location=False)
    except GraphQLError as error:
        raise QueryError(error.message, locations=error.locations) from None
    errors = validate(schema(), document)
    if errors:
        unknown = errors[0].message.startswith("Cannot query field")
        raise QueryError(errors[0].message, "undefinedField" if unknown else "", locations=errors[0].locations)
    return document


def prepare(text: str, variables: Mapping[str, Any] | None = None, operation: str | None = None) -> Query:
    """Raises QueryError: no GraphQL, not of this schema, a variable that does not fit."""
    document = _document(text)
    definition = get_operation_ast(document, operation)
    if definition is None:
        raise QueryError("No operation named " + repr(operation) if operation else "An operation name is required")
    values = get_variable_values(schema(), definition.variable_definitions or [], dict(variables or {}))
    if isinstance(values, list):
        raise QueryError(values[0].message, "INVALID_VARIABLE", locations=values[0].locations)
    root = schema().get_root_type(definition.operation)
    if root is None:
        raise QueryError(f"Schema is not configured to execute {definition.operation.value} operation.")
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    try:
        fields = _Planner(fragments, values).fields(root, [definition.selection_set])
    except GraphQLError as error:
        raise QueryError(error.message, "argumentLiteralsIncompatible", locations=error.locations) from None
    return Query(definition.operation.value, fields, any(field.name in ("__schema", "__type") for field in fields))


def introspect(text: str, variables: Mapping[str, Any] | None, operation: str | None) -> Any:
    """What the schema says of itself."""
    return graphql_sync(schema(), text, variable_values=dict(variables or {}), operation_name=operation).data


class _Planner:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: dict[str, Any]) -> None:
        self._fragments, self._variables = fragments, variables

    def fields(self, of: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> tuple[Field, ...]:
        """Fields of one key are merged, in the order in which they are first met."""
        met: dict[str, list[FieldNode]] = {}
        for one in sets:
            self._collect(of, one, met)
        return tuple(self._field(of, key, nodes) for key, nodes in met.items())

    def _collect(self, of: GraphQLObjectType, selections: SelectionSetNode, met: dict[str, list[FieldNode]]) -> None:
        for node in selections.selections:
            skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
            include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
            if (skip and skip["if"]) or (include and not include["if"]):
                continue
            if isinstance(node, FieldNode):
                met.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
                continue
            inner: SelectionNode | FragmentDefinitionNode = node
            if isinstance(node, FragmentSpreadNode):
                inner = self._fragments[node.name.value]
            if isinstance(inner, FragmentDefinitionNode | InlineFragmentNode):
                condition = inner.type_condition
                if condition is None or self._is(of, condition.name.value):
                    self._collect(of, inner.selection_set, met)

    @staticmethod
    def _is(of: GraphQLObjectType, name: str) -> bool:
        return of.name == name or any(one.name == name for one in of.interfaces)

    def _field(self, of: GraphQLObjectType, key: str, nodes: list[FieldNode]) -> Field:
        name = nodes[0].name.value
        definition: GraphQLField | None = of.fields.get(name)
        if definition is None:
            return Field(key, name, {}, {})
        arguments = get_argument_values(definition, nodes[0], self._variables)
        inner, sets = get_named_type(definition.type), [one.selection_set for one in nodes if one.selection_set]
        if not is_composite_type(inner):
            return Field(key, name, arguments, {})
        types = (
            [inner] if isinstance(inner, GraphQLObjectType) else schema().get_possible_types(cast(GraphQLInterfaceType, inner))
        )
        below = {one.name: self.fields(one, sets) for one in types}
        return Field(key, name, arguments, below, is_connection=inner.name.endswith("Connection"), is_object=True)


# --- Cost --------------------------------------------------------------------------------------------------


def _scale(size: int) -> int:
    return math.floor(2 * math.log(max(2, size)))


def requested_cost(query: Query) -> int:
    """What the query may cost at most, reckoned before it runs."""
    return 10 if query.kind == "mutation" else sum(_cost(field) for field in query.fields)


def _cost(field: Field) -> int:
    if not field.is_object or field.name == "pageInfo":
        return 0
    below = max((sum(_cost(one) for one in fields) for fields in field.below.values()), default=0)
    if field.is_connection:
        size = field.arguments.get("first")
        return 2 + below * _scale(size if isinstance(size, int) else 1)
    # An edge is part of its connection.
    return below if field.name == "edges" else 1 + below


# --- Selecting ---------------------------------------------------------------------------------------------


def cut(nodes: Sequence[Node], arguments: Mapping[str, Any], name: str) -> Page:
    """The page of a nested connection. Raises QueryError."""
    start, size = 0, page_size(arguments, name)
    ordered = nodes[::-1] if arguments.get("reverse") else nodes
    if arguments.get("after"):
        numbers = [node_number(node) for node in ordered]
        last = cursor_of(arguments["after"])[1]
        if last not in numbers:
            raise QueryError("Invalid cursor for current pagination sort.", "BAD_USER_INPUT")
        start = numbers.index(last) + 1
    page = ordered[start : start + size]
    return Page(page, [cursor("", node_number(node)) for node in page], start + size < len(ordered), start > 0)


def cursor_of(text: str) -> tuple[Any, int]:
    """What a cursor names. Raises QueryError."""
    try:
        return read_cursor(text)
    except ValueError as error:
        raise QueryError(str(error), "BAD_USER_INPUT") from None


def page_size(arguments: Mapping[str, Any], name: str) -> int:
    """The argument ``first``. Raises QueryError where it is missing, or more than Shopify gives."""
    size = arguments.get("first")
    if size is None:
        raise QueryError(f"you must provide one of first or last for {name}", "BAD_REQUEST")
    if not 0 <= int(size) <= PAGE_LIMIT:
        raise QueryError(f"first of {name} is {size}, which is not between 0 and {PAGE_LIMIT}", "BAD_USER_INPUT")
    return int(size)


def select(
    fields: Sequence[Field], value: Mapping[str, Any], resolvers: Mapping[str, Resolver] | None = None
) -> tuple[Node, int]:
    """Exactly the fields asked for, in order, and what they have cost. ``resolvers``: of root fields, by name."""
    found: Node = {}
    cost = 0
    for field in fields:
        resolver = resolvers.get(field.name) if resolvers else None
        inner = value[field.name] if resolver is None else resolver(field)
        if field.is_object and inner is not None:
            inner, price = _select_inner(field, inner)
            cost += price
        found[field.key] = inner
    return found, cost


def _select_inner(field: Field, inner: Any) -> tuple[Any, int]:
    if isinstance(inner, Many):
        inner = cut(inner.nodes, field.arguments, field.name)
    if isinstance(inner, Page):
        return _select_page(field, inner)
    if isinstance(inner, list):
        size = field.arguments.get("first")
        chosen = [
            None if one is None else select(field.below[one["__typename"]], one)
            for one in inner[: _EVERY if size is None else size]
        ]
        return [one and one[0] for one in chosen], 1 + max((one[1] for one in chosen if one), default=0)
    found, cost = select(field.below[inner["__typename"]], inner)
    return found, 0 if field.name == "pageInfo" else 1 + cost


def _select_page(field: Field, page: Page) -> tuple[Node, int]:
    """The actual cost is reckoned like the requested one, by the nodes that there are and what they cost on average."""
    found: Node = {}
    spent = 0
    for one in next(iter(field.below.values())):
        if one.name == "pageInfo":
            ends = (page.cursors[0], page.cursors[-1]) if page.cursors else (None, None)
            info = {"__typename": "PageInfo", "hasNextPage": page.has_next, "hasPreviousPage": page.has_previous,
                    "startCursor": ends[0], "endCursor": ends[1]}  # fmt: skip
            found[one.key] = select(one.below["PageInfo"], info)[0]
        elif one.name == "nodes":
            chosen = [select(one.below[node["__typename"]], node) for node in page.nodes]
            found[one.key] = [node for node, _ in chosen]
            spent += sum(1 + cost for _, cost in chosen)
        elif one.name == "edges":
            ((edge_type, fields),) = one.below.items()
            edges = [
                {"__typename": edge_type, "cursor": at, "node": node} for at, node in zip(page.cursors, page.nodes, strict=True)
            ]
            chosen = [select(fields, edge) for edge in edges]
            found[one.key] = [edge for edge, _ in chosen]
            spent += sum(cost for _, cost in chosen)
        else:
            found[one.key] = next(iter(field.below))
    return found, 2 + spent * _scale(len(page.nodes)) // max(1, len(page.nodes))
